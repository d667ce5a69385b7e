// suanli pool status | peers | links | events | describe | token | revoke: what a pool's coordinator on this machine tells and
// does.
#include <functional>
#include <vector>

#include "suanli/base/clock.h"
#include "suanli/base/text.h"
#include "suanli/cli/output.h"
#include "suanli/cli/pool_client.h"
#include "suanli/cli/verb.h"

namespace suanli::cli {
namespace {

using pool::Ask;
using pool::ControlClient;

constexpr Seconds kLookAgain{1};

struct Options {
  bool json = false, watch = false;
  std::string pool, lifetime = "24h";
  std::vector<std::string> words;  // [POOL] WHAT
  std::int64_t uses = 1'000;
};

// Shows once, or again and again; on a terminal from the top.
Result<int> show(const Options& options, const Context& context, const std::function<Status(ControlClient&)>& once) {
  SUANLI_ASSIGN_OR_RETURN(ControlClient client, client_of(options.pool));
  while (true) {
    if (options.watch && !options.json && context.out.is_tty) write_stdout("\x1b[H\x1b[2J");
    SUANLI_RETURN_IF_ERROR(once(client));
    SUANLI_RETURN_IF_ERROR(flush_stdout());
    if (!options.watch || !write_stdout("")) return 0;
    real_clock().sleep_for(kLookAgain);
    if (!options.json && !context.out.is_tty) write_stdout("\n");
  }
}

// A list of the coordinator's: a line of JSON for each of its items, or a table.
Result<int> show_list(const Options& options, const Context& context, Ask ask, std::string_view record,
                      std::string (*text)(const Answer&)) {
  return with_answers([&] {
    return show(options, context, [&](ControlClient& client) -> Status {
      SUANLI_ASSIGN_OR_RETURN(const Answer list, client.ask({.ask = ask}));
      if (!options.json) write_stdout(text(list));
      for (const Answer& each : list)
        if (options.json) emit(record, in_order(record, each));
      return {};
    });
  });
}

Result<int> run_status(const Options& options, const Context& context) {
  return with_answers([&] {
    return show(options, context, [&](ControlClient& client) -> Status {
      SUANLI_ASSIGN_OR_RETURN(const Answer status, client.ask({.ask = Ask::status}));
      SUANLI_ASSIGN_OR_RETURN(const Answer jobs, client.ask({.ask = Ask::jobs}));
      if (options.json)
        emit("pool/status", in_order("pool/status", status));
      else
        write_stdout(status_text(status, jobs));
      return {};
    });
  });
}

Result<int> run_peers(const Options& options, const Context& context) {
  return show_list(options, context, Ask::peers, "pool/peer", peers_text);
}

Result<int> run_links(const Options& options, const Context& context) {
  return show_list(options, context, Ask::links, "pool/link", links_text);
}

Result<int> run_events(const Options& options, const Context&) {
  return with_answers([&]() -> Result<int> {
    SUANLI_ASSIGN_OR_RETURN(ControlClient client, client_of(options.pool));
    std::int64_t after = 0;
    while (true) {
      SUANLI_ASSIGN_OR_RETURN(const Answer events, client.ask({.ask = Ask::events, .after = after}));
      for (const Answer& each : events) {
        after = each.at("number").get<std::int64_t>();
        if (options.json)
          emit("pool/event", in_order("pool/event", each));
        else
          write_stdout(event_text(each) + "\n");
      }
      SUANLI_RETURN_IF_ERROR(flush_stdout());
      if (!options.watch || !write_stdout("")) return 0;
      real_clock().sleep_for(kLookAgain);
    }
  });
}

// "WHAT" or "POOL WHAT".
struct Target {
  std::string pool, what;
};
Result<Target> target_of(const std::vector<std::string>& words) {
  if (words.size() == 1) return Target{"", words[0]};
  if (words.size() == 2) return Target{words[0], words[1]};
  return fail(ErrorCode::usage, "'" + printable(words[2]) + "' is one argument too many", "WHAT",
              "give a pool's name and one worker, job or token of it");
}

// The worker of this name, or whose id begins with it. Null: none.
Result<Answer> worker_called(const Answer& peers, const std::string& what) {
  std::vector<Answer> found;
  for (const Answer& each : peers)
    if (each.at("worker") == what || (what.size() >= 4 && each.at("id").get<std::string>().starts_with(what)))
      found.push_back(each);
  if (found.size() > 1)
    return fail(ErrorCode::usage, std::to_string(found.size()) + " workers are called '" + printable(what) + "'", "WHAT",
                "give more digits of the id, which `suanli pool peers --json` prints");
  return found.empty() ? Answer() : found.front();
}

Result<int> run_describe(const Options& options, const Context&) {
  return with_answers([&]() -> Result<int> {
    SUANLI_ASSIGN_OR_RETURN(const Target target, target_of(options.words));
    SUANLI_ASSIGN_OR_RETURN(ControlClient client, client_of(target.pool));
    SUANLI_ASSIGN_OR_RETURN(const Answer peers, client.ask({.ask = Ask::peers}));
    SUANLI_ASSIGN_OR_RETURN(const Answer jobs, client.ask({.ask = Ask::jobs}));
    SUANLI_ASSIGN_OR_RETURN(const Answer worker, worker_called(peers, target.what));
    Answer job, links = Answer::array();
    std::vector<std::string> names;
    for (const Answer& each : jobs) {
      if (each.at("job") == target.what) job = each;
      names.push_back(each.at("job"));
    }
    for (const Answer& each : peers) names.push_back(each.at("worker"));
    if (worker.is_null() && job.is_null())
      return fail(ErrorCode::not_found,
                  "the pool has no worker and no job '" + printable(target.what) + "'" + did_you_mean(target.what, names), "WHAT",
                  "`suanli pool peers` and `suanli status` list them; `suanli pool events` tells who has left");
    if (!worker.is_null()) {
      SUANLI_ASSIGN_OR_RETURN(const Answer all, client.ask({.ask = Ask::links}));
      for (const Answer& each : all)
        if (each.at("from_id") == worker.at("id") || each.at("to_id") == worker.at("id")) links.push_back(each);
    }
    const std::string subject = worker.is_null() ? target.what : worker.at("worker").get<std::string>();
    SUANLI_ASSIGN_OR_RETURN(const Answer events, client.ask({.ask = Ask::events, .subject = subject}));
    if (options.json) {
      Json linked = Json::array(), happened = Json::array();
      for (const Answer& each : links) linked.push_back(in_order("pool/link", each));
      for (const Answer& each : events) happened.push_back(in_order("pool/event", each));
      emit("pool/describe", {{"kind", worker.is_null() ? "job" : "worker"},
                             {"worker", worker.is_null() ? Json(nullptr) : in_order("pool/peer", worker)},
                             {"job", job.is_null() ? Json(nullptr) : in_order("job", job)},
                             {"links", linked},
                             {"events", happened}});
      return 0;
    }
    write_stdout(worker.is_null() ? job_text(job) : worker_text(worker));
    if (!links.empty()) write_stdout("\n" + links_text(links));
    write_stdout("\n");
    for (const Answer& each : events) write_stdout(event_text(each) + "\n");
    return 0;
  });
}

Result<int> run_token(const Options& options, const Context&) {
  return with_answers([&]() -> Result<int> {
    SUANLI_ASSIGN_OR_RETURN(const Seconds lifetime, parse_duration(options.lifetime, "--lifetime"));
    if (lifetime < Seconds(1) || lifetime > Seconds(3650.0 * 86'400))
      return fail(ErrorCode::usage, "'" + printable(options.lifetime) + "' is not from a second to ten years", "--lifetime",
                  "such as 90m, 24h, 7d");
    SUANLI_ASSIGN_OR_RETURN(ControlClient client, client_of(options.pool));
    SUANLI_ASSIGN_OR_RETURN(const Answer token, client.ask({.ask = Ask::token, .lifetime = lifetime, .uses = options.uses}));
    if (options.json)
      emit("pool/token", in_order("pool/token", token));
    else
      write_stdout(token.at("token").get<std::string>() + "\n");
    return 0;
  });
}

Result<int> run_revoke(const Options& options, const Context&) {
  return with_answers([&]() -> Result<int> {
    SUANLI_ASSIGN_OR_RETURN(const Target target, target_of(options.words));
    SUANLI_ASSIGN_OR_RETURN(ControlClient client, client_of(target.pool));
    SUANLI_ASSIGN_OR_RETURN(const Answer revoked, client.ask({.ask = Ask::revoke, .name = target.what}));
    if (options.json)
      emit("pool/revoke", in_order("pool/revoke", revoked));
    else
      write_stdout(revoked.at("kind").get<std::string>() + " " + revoked.at("id").get<std::string>() + " is revoked\n");
    return 0;
  });
}

constexpr const char* kWhatHelp = "Name, or start of the id; before it the pool's name, where there are several pools";
constexpr const char* kPoolHelp = "Name of the pool, or its folder; may be left out if there is one pool on this machine";

}  // namespace

void add_pool(Verb root, Request& request) {
  Verb pool = root.verb("pool", "Make a pool of machines, look into it, let machines in and out",
                        "A pool is machines that train one model together: a coordinator, which this makes and asks, and workers "
                        "(`suanli worker`). The "
                        "verbs speak with the coordinator through a socket in its folder, on its machine and as its user.",
                        {{"pool create mypool --listen 0.0.0.0:7000", "the coordinator, until Ctrl-C; prints a token"},
                         {"pool status", "of the one pool on this machine"},
                         {"pool peers mypool --watch", "its workers, again every second"}});
  pool.needs_verb();
  add_pool_create(pool, request);

  const auto add_view = [&](const std::string& name, const std::string& line, const std::string& paragraph,
                            std::initializer_list<Example> examples, const std::string& watch,
                            Result<int> (*run)(const Options&, const Context&)) {
    auto options = std::make_shared<Options>();
    Verb verb = pool.verb(name, line, paragraph, examples);
    verb.optional_argument("NAME", options->pool, kPoolHelp);
    verb.flag("--watch", options->watch, watch);
    verb.json_flag(options->json);
    on_chosen(verb, request, options, run);
  };
  const std::string again = "Again every second, until Ctrl-C";
  add_view("status", "How a pool is: workers, power, jobs", "Shows what the pool's workers add up to, and its jobs.",
           {{"pool status", ""}, {"pool status mypool --json", "for programs"}}, again, run_status);
  add_view("peers", "The workers of a pool",
           "Shows the workers that are connected: what they lend, what they measured of themselves, and what they do.",
           {{"pool peers", ""}, {"pool peers mypool --watch", "again every second"}}, again, run_peers);
  add_view("links", "Delay and rate between the workers of a pool",
           "Shows each direction of each line between two workers, as they measure it from real traffic.",
           {{"pool links", ""}, {"pool links mypool --json", "a line of JSON for each direction"}}, again, run_links);
  add_view("events", "What has happened in a pool, and why",
           "Tells who came and went, and what became of jobs, with reasons, since the coordinator began.",
           {{"pool events", ""}, {"pool events mypool --watch", "go on with what happens"}},
           "Go on with what happens, until Ctrl-C", run_events);

  auto described = std::make_shared<Options>();
  Verb describe =
      pool.verb("describe", "All that is known of a worker or a job of a pool",
                "Shows a worker with its lines, or a job with its placement, and what has happened to it, with reasons.",
                {{"pool describe worker-1", "by its name"},
                 {"pool describe 3f9a2c", "by the start of its id"},
                 {"pool describe mypool job-3", "a job, where there are several pools"}});
  describe.arguments("WHAT", described->words, kWhatHelp);
  describe.json_flag(described->json);
  on_chosen(describe, request, described, run_describe);

  auto token_options = std::make_shared<Options>();
  Verb token = pool.verb(
      "token", "A new token, by which machines join a pool",
      "Prints a token for `suanli worker --join`. Whoever has it can lend a machine to the pool, until it expires or is revoked.",
      {{"pool token --lifetime 2h --uses 1", "for one machine"}, {"pool token mypool --json", "with its id, for `pool revoke`"}});
  token.optional_argument("NAME", token_options->pool, kPoolHelp);
  token.option("--lifetime", token_options->lifetime, "How long it holds, such as 90m, 24h, 7d", "TIME");
  token.option("--uses", token_options->uses, "How many machines may join by it", 1, 1'000'000);
  token.json_flag(token_options->json);
  on_chosen(token, request, token_options, run_token);

  auto revoked = std::make_shared<Options>();
  Verb revoke = pool.verb("revoke", "Put a worker out of a pool, or take a token back",
                          "A worker that is revoked loses its connections at once and can never come back with its key. A token "
                          "that is revoked lets nobody "
                          "in any more; who has joined by it stays.",
                          {{"pool revoke worker-1", "a worker, by its name or the start of its id"},
                           {"pool revoke mypool 5d41402abc4b2a76", "a token, by its id, where there are several pools"}});
  revoke.arguments("WHAT", revoked->words, kWhatHelp);
  revoke.json_flag(revoked->json);
  on_chosen(revoke, request, revoked, run_revoke);
}

}  // namespace suanli::cli
