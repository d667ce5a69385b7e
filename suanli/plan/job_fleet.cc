// A fleet as the place where a job runs.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string_view>

#include "suanli/base/text.h"
#include "suanli/plan/job_host.h"
#include "suanli/plan/program_time.h"

namespace suanli::plan {
namespace {

constexpr Seconds kDeviceLinkDelay{10e-6};  // between accelerators of one site
constexpr double kOwnNode = 8;  // devices that a machine of its own counts for in rates of faults: it is a node
constexpr std::int64_t kBytesPerGradient = 4;


struct Member {
  JobHost host;
  MachinePace pace;
};

Result<Member> member_of(const FleetMember& member, const JobPrograms& programs) {
  Member result;
  const Machine& machine = member.machine;
  if (member.profile) {
    SUANLI_ASSIGN_OR_RETURN(result.host, profile_host(*member.profile, machine.profile, programs, machine.power));
  } else {
    SUANLI_ASSIGN_OR_RETURN(result.host, device_host(*member.device, programs, machine.power));
  }
  JobHost& host = result.host;
  // All that computes takes the longer the less of the machine may be used.
  for (Interval* each : {&host.compute, &host.evaluation_batch, &host.sample_token, &host.snapshot.stall})
    *each = scaled(*each, 1 / machine.share);
  const auto count = static_cast<double>(programs.step->micro_batches);
  result.pace = {.micro_batch = scaled(host.compute, (1 - host.update_share) / count),
                 .update = scaled(host.compute, host.update_share),
                 .backward_share = host.backward_share};
  return result;
}

struct FoundLink {
  Seconds delay;
  BytesPerSecond rate{0};  // 0: none found yet
  std::string text;
};

// Among devices of one kind the table knows how they are connected.
std::optional<Link> device_link(const FleetMember& of) {
  if (!of.device) return std::nullopt;
  const bool is_one_node = of.machine.count <= of.device->per_node;
  const auto& link = is_one_node ? of.device->node_link : of.device->cluster_link;
  if (!link) return std::nullopt;
  return Link{of.machine.name, of.machine.name, kDeviceLinkDelay, link->value};
}

void see(FoundLink& slowest, const Link& link, const std::string& first, const std::string& second, Bytes message) {
  const auto seconds = [&](BytesPerSecond rate, Seconds delay) {
    return static_cast<double>(message.value()) / rate.value() + delay.value();
  };
  if (slowest.rate.value() > 0 && seconds(link.rate, link.delay) <= seconds(slowest.rate, slowest.delay)) return;
  slowest = {link.delay, link.rate, printable(first) + " - " + printable(second) + ": " +
                                        format_si(8 * link.rate.value(), "bit/s") + ", " + format_duration(link.delay)};
}

Error no_link(const FleetMember& a, const FleetMember& b) {
  const std::string first = printable(a.machine.name), second = printable(b.machine.name);
  return {ErrorCode::config, "there is no link between '" + first + "' and '" + second + "'", a.machine.place,
          "add [[link]] with between = [\"" + first + "\", \"" + second +
              "\"], delay and rate; without 'between' it holds for all"};
}

// Of all pairs: which machines are neighbours on the ring is not chosen here. Goes through the links, not the pairs, of which a
// fleet can have millions.
Result<FoundLink> slowest_link(const Fleet& fleet, const std::vector<FleetMember>& members, Bytes message) {
  std::map<std::string_view, std::size_t> index;
  for (std::size_t i = 0; i < members.size(); ++i) index.emplace(members[i].machine.name, i);
  FoundLink slowest;
  const Link* general = nullptr;
  std::set<std::pair<std::size_t, std::size_t>> linked;
  std::size_t pairs = 0;  // of different members, that have a link of their own
  for (const Link& link : fleet.links) {
    if (link.a.empty()) {
      general = &link;
      continue;
    }
    const auto a = index.find(link.a), b = index.find(link.b);
    if (a == index.end() || b == index.end()) continue;
    const auto ends = std::minmax(a->second, b->second);
    if (ends.first == ends.second && members[ends.first].machine.count == 1) continue;
    if (linked.insert(ends).second && ends.first != ends.second) ++pairs;
    see(slowest, link, members[ends.first].machine.name, members[ends.second].machine.name, message);
  }
  // Among machines alike: what the table knows of devices goes before the link of all.
  for (std::size_t i = 0; i < members.size(); ++i) {
    if (members[i].machine.count == 1 || linked.contains({i, i})) continue;
    const std::optional<Link> known = device_link(members[i]);
    if (!known && general == nullptr) return tl::unexpected(no_link(members[i], members[i]));
    see(slowest, known ? *known : *general, members[i].machine.name, members[i].machine.name, message);
  }
  if (pairs == members.size() * (members.size() - 1) / 2) return slowest;
  for (std::size_t i = 0; i < members.size(); ++i)
    for (std::size_t j = i + 1; j < members.size(); ++j) {
      if (linked.contains({i, j})) continue;
      if (general == nullptr) return tl::unexpected(no_link(members[i], members[j]));
      see(slowest, *general, members[i].machine.name, members[j].machine.name, message);
      return slowest;
    }
  return slowest;
}

// Of all members: the worst of what holds each up, the sum of what each adds.
JobHost joined(const std::vector<FleetMember>& members, const std::vector<Member>& known) {
  JobHost host = known.front().host;
  std::int64_t machines = 0;
  double devices = 0;
  host.dense_peak = host.nodes = 0;
  host.watts = {};
  host.notes.clear();
  for (std::size_t i = 0; i < members.size(); ++i) {
    const JobHost& one = known[i].host;
    const auto count = static_cast<double>(members[i].machine.count);
    machines += members[i].machine.count;
    host.watts = sum(host.watts, scaled(one.watts, count));
    host.dense_peak += count * members[i].machine.share * one.dense_peak;
    host.nodes += members[i].device ? count / members[i].device->per_node : count;
    devices += members[i].device ? count : kOwnNode * count;
    for (const std::string& note : one.notes)
      if (std::ranges::find(host.notes, note) == host.notes.end()) host.notes.push_back(note);
    const auto worse = [](Interval& worst, const Interval& other) {
      if (other.expected > worst.expected) worst = other;
    };
    worse(host.start, one.start);
    worse(host.snapshot.copy, one.snapshot.copy);
    worse(host.snapshot.stall, one.snapshot.stall);
    worse(host.snapshot.write, one.snapshot.write);
    // Evaluations and samples are made by one machine while the others wait: by the fastest.
    if (one.evaluation_batch.expected < host.evaluation_batch.expected) host.evaluation_batch = one.evaluation_batch;
    if (one.sample_token.expected < host.sample_token.expected) host.sample_token = one.sample_token;
  }
  host.name = format_count(machines) + (machines == 1 ? " machine" : " machines");
  // Of a mixed fleet the mean over its nodes.
  host.devices_per_node = std::max(1, static_cast<int>(std::lround(devices / host.nodes)));
  host.peak_source = "of all machines, of each the share that the job may use";
  host.watts_source = "all machines, each by what is known of it";
  return host;
}

// Members of which at least one machine has something to do, each with how many have.
struct Working {
  std::vector<FleetMember> members;
  std::vector<Member> known;
  std::vector<MachinePace> paces;  // of each machine
  std::int64_t idle = 0;
  std::string idle_name;           // of one that is
  std::int64_t most = 0;           // micro-batches that one machine takes
};

Working working_of(const std::vector<FleetMember>& members, const std::vector<Member>& known, std::int64_t micro_batches) {
  std::vector<MachinePace> paces;
  for (std::size_t i = 0; i < members.size(); ++i)
    paces.insert(paces.end(), static_cast<std::size_t>(members[i].machine.count), known[i].pace);
  const std::vector<std::int64_t> shares = balanced_shares(paces, micro_batches);
  Working working;
  auto share = shares.begin();
  for (std::size_t i = 0; i < members.size(); ++i) {
    const auto end = share + members[i].machine.count;
    const std::int64_t busy = members[i].machine.count - std::count(share, end, 0);
    working.most = std::max(working.most, *std::max_element(share, end));
    share = end;
    if (busy < members[i].machine.count) working.idle_name = members[i].machine.name;
    working.idle += members[i].machine.count - busy;
    if (busy == 0) continue;
    working.members.push_back(members[i]);
    working.members.back().machine.count = busy;
    working.known.push_back(known[i]);
    working.paces.insert(working.paces.end(), static_cast<std::size_t>(busy), known[i].pace);
  }
  return working;
}

// Why some have nothing to do, and what to do about it.
Error idle_warning(const Working& working, std::int64_t micro_batches) {
  const auto all = working.idle + static_cast<std::int64_t>(working.paces.size());
  const std::string have = format_count(working.idle) + " of " + format_count(all) + " machines " +
                           (working.idle == 1 ? "has" : "have") + " nothing to do and are left out: ";
  if (working.most <= 1)
    return {ErrorCode::config, have + "a step has " + format_count(micro_batches) + " micro-batches", "train.micro_batches",
            "raise it (and lower 'train.batch'), or use fewer machines"};
  return {ErrorCode::config,
          have + "one micro-batch on '" + printable(working.idle_name) + "' would end after all that the others do in a step",
          "train.micro_batches",
          "make micro-batches smaller (raise it, and lower 'train.batch'), or plan without those machines"};
}

}  // namespace

Result<FleetHost> fleet_host(const Fleet& fleet, const std::vector<FleetMember>& members, const JobPrograms& programs) {
  SUANLI_CHECK(!members.empty());
  std::vector<Member> all;
  for (const FleetMember& member : members) {
    SUANLI_ASSIGN_OR_RETURN(Member one, member_of(member, programs));
    all.push_back(std::move(one));
  }
  const std::int64_t micro_batches = programs.step->micro_batches;
  const Working working = working_of(members, all, micro_batches);
  const Bytes gradients(programs.parameters * kBytesPerGradient);
  SUANLI_ASSIGN_OR_RETURN(
      const FoundLink link,
      slowest_link(fleet, working.members, gradients / static_cast<std::int64_t>(working.paces.size())));
  const FleetStep step = fleet_step(working.paces, micro_batches, gradients, link.rate, link.delay);
  FleetHost result{.host = joined(working.members, working.known),
                   .members = working.members,
                   .shares = {},
                   .all_reduce = Seconds(step.all_reduce),
                   .slowest_link = link.text};
  auto first = step.shares.begin();
  for (std::size_t i = 0; i < working.members.size(); ++i) {
    const Machine& machine = working.members[i].machine;
    const auto [least, most] = std::minmax_element(first, first + machine.count);
    result.shares.push_back({machine.name, machine.count, *least, *most, working.known[i].pace.micro_batch,
                             working.known[i].host.watts.expected * static_cast<double>(machine.count)});
    first += machine.count;
  }
  JobHost& host = result.host;
  host.compute = step.compute;
  host.communication = step.all_reduce;
  host.hideable = step.hideable;
  host.communication_source = "ring all-reduce of " + format_bytes(gradients) + " over the slowest link (" + link.text +
                              "), from all hidden beside the last backward to nothing hidden";
  host.compute_source = "the machine that ends last; " + host.compute_source;
  host.notes.push_back(
      "data parallel and synchronous, each machine with a share of the micro-batches; joint placement of stages, replicas and "
      "shares comes with the pool");
  if (working.idle > 0) host.warnings.push_back(idle_warning(working, micro_batches));
  return result;
}

}  // namespace suanli::plan
