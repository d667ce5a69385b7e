#include "suanli/cli/plan_target.h"

#include <algorithm>
#include <filesystem>

#include "suanli/base/file.h"
#include "suanli/base/text.h"
#include "suanli/base/thread_pool.h"
#include "suanli/cli/progress.h"
#include "suanli/cli/signals.h"
#include "suanli/plan/calibrate.h"
#include "suanli/plan/profile_path.h"
#include "suanli/train/setup.h"

namespace suanli::cli {
namespace {

constexpr Bytes kMaxDevicesBytes{std::int64_t{1} << 20};

plan::FleetMember member_of(plan::Profile profile, const std::string& source) {
  plan::FleetMember member;
  member.machine.name = source;
  member.machine.profile = source;
  member.profile = std::move(profile);
  return member;
}

// Leaves its result where the next plan finds it.
Result<plan::Profile> calibrate_quickly(const std::string& path, int threads, bool quiet, const Context& context) {
  write_stderr(
      "note: this machine has no profile yet; measuring it for some 15 s (`suanli calibrate` takes longer and knows more)\n");
  Progress progress(context.err, write_stderr);
  plan::CalibrateOptions how;
  how.quick = true;
  how.threads = threads;
  how.stop = stop_on_signals();
  how.folder = std::filesystem::path(path).parent_path().string();
  if (how.folder.empty()) how.folder = ".";
  SUANLI_RETURN_IF_ERROR(make_folders(how.folder));
  if (!quiet)
    how.progress = [&](const plan::CalibrateProgress& at) {
      progress.show([&] { return format("calibrating: %s, %.0f %%", at.doing.c_str(), 100 * at.done); });
    };
  SUANLI_ASSIGN_OR_RETURN(plan::Profile profile, plan::calibrate(how));
  progress.finish();
  SUANLI_RETURN_IF_ERROR(write_file_atomic(path, as_bytes(plan::print_profile(profile))));
  return profile;
}

Result<PlanTarget> this_machine(int threads, bool quiet, const Context& context) {
  const int running = threads > 0 ? threads : available_cores();
  const std::string path = plan::default_profile_path();
  PlanTarget target;
  target.name = "this machine";
  target.is_here = true;
  auto profile = plan::load_profile(path);
  if (!profile) {
    if (profile.error().code != ErrorCode::not_found) {
      Error error = std::move(profile).error();
      error.next_step = "make it again: `suanli calibrate`";
      return tl::unexpected(std::move(error));
    }
    profile = calibrate_quickly(path, running, quiet, context);
    if (!profile) return tl::unexpected(std::move(profile).error());
  }
  target.warnings = plan::profile_warnings(*profile, running);
  target.members.push_back(member_of(*std::move(profile), path));
  return target;
}

bool is_of_this_machine(const plan::Profile& profile) {
  const plan::Here here = plan::here();
  return profile.machine == here.machine && profile.host == here.host && profile.cores == here.cores;
}

Result<PlanTarget> profile_target(const std::string& path, int threads) {
  SUANLI_ASSIGN_OR_RETURN(plan::Profile profile, plan::load_profile(path));
  PlanTarget target;
  target.name = path;
  target.is_here = is_of_this_machine(profile);
  target.warnings = plan::profile_warnings(profile, threads);
  target.members.push_back(member_of(std::move(profile), path));
  return target;
}

// Of a fleet the machines are others on purpose: only age and build are worth a word.
Result<PlanTarget> fleet_target(const std::string& path, const plan::AcceleratorTable& devices) {
  PlanTarget target;
  target.name = path;
  SUANLI_ASSIGN_OR_RETURN(target.fleet, plan::load_fleet(path));
  for (const plan::Machine& machine : target.fleet->machines) {
    plan::FleetMember member;
    member.machine = machine;
    if (machine.profile.empty()) {
      auto device = devices.find(machine.device);
      if (!device) {
        Error error = std::move(device).error();
        error.code = ErrorCode::config;
        error.place = machine.place;
        return tl::unexpected(std::move(error));
      }
      member.device = *std::move(device);
    } else {
      auto profile = plan::load_profile(machine.profile);
      if (!profile) {
        Error error = std::move(profile).error();
        if (error.code == ErrorCode::not_found) error.next_step = "make it on that machine: `suanli calibrate --out FILE`";
        return tl::unexpected(std::move(error).within(machine.place));
      }
      plan::Here there = plan::here();
      there.machine = profile->machine;
      there.host = profile->host;
      there.cores = profile->cores;
      for (Error& warning : plan::profile_warnings(*profile, 0, there))
        target.warnings.push_back(std::move(warning).within(machine.profile));
      member.profile = *std::move(profile);
    }
    target.members.push_back(std::move(member));
  }
  return target;
}

Result<PlanTarget> device_target(const std::string& name, const plan::AcceleratorTable& devices) {
  PlanTarget target;
  plan::FleetMember member;
  auto device = devices.find(name);
  if (!device) {
    Error error = std::move(device).error();
    error.place = "--on";
    error.message += "; nor is it a file";
    return tl::unexpected(std::move(error));
  }
  member.device = *std::move(device);
  member.machine.name = member.machine.device = member.device->name;
  target.name = member.device->name;
  target.members.push_back(std::move(member));
  return target;
}

bool has_matrix_units(const plan::FleetMember& member) {
  if (member.device) return plan::device_rate(*member.device, engine::Arithmetic::bf16).has_value();
  return member.profile->has_matrix_units();
}

}  // namespace

Result<PlanTarget> find_target(const TargetQuestion& question, const Context& context) {
  plan::AcceleratorTable devices = plan::AcceleratorTable::built_in();
  if (!question.devices_file.empty()) {
    SUANLI_ASSIGN_OR_RETURN(const std::string text, read_file(question.devices_file, kMaxDevicesBytes));
    SUANLI_RETURN_IF_ERROR(devices.add(text, question.devices_file));
  }
  const std::string& on = question.on;
  std::error_code ignored;
  const bool is_profile = on.ends_with(".json") || std::filesystem::exists(on, ignored);
  auto target = on.empty()               ? this_machine(question.threads, question.quiet, context)
                : on.ends_with(".toml") ? fleet_target(on, devices)
                : is_profile            ? profile_target(on, question.threads)
                                        : device_target(on, devices);
  if (target) target->devices = std::move(devices);
  return target;
}

engine::Arithmetic usual_arithmetic(const PlanTarget& target) {
  // Here it is what training takes.
  if (const auto here = train::arithmetic_of(train::JobConfig()); target.is_here && here) return *here;
  return std::ranges::all_of(target.members, has_matrix_units) ? engine::Arithmetic::bf16 : engine::Arithmetic::f32;
}

train::MemoryLimit member_limit(const PlanTarget& target, const plan::FleetMember& member, const train::JobConfig& job) {
  if (job.run.memory_limit > 0) return train::MemoryLimit::of_job(job);
  const std::string owner = "'" + member.machine.name + "' has ";
  if (member.machine.memory) return {*member.machine.memory, owner};
  if (target.is_here) return train::MemoryLimit::of_job_or_machine(job);
  if (member.profile) return {member.profile->memory, owner};
  return {member.device->memory ? member.device->memory->value : Bytes(0), owner};
}

Result<plan::FleetHost> host_of(const PlanTarget& target, const std::vector<plan::FleetMember>& members,
                                const plan::JobPrograms& programs) {
  if (target.fleet) return plan::fleet_host(*target.fleet, members, programs);
  const plan::FleetMember& only = members.front();
  plan::FleetHost alone;
  if (only.profile) {
    SUANLI_ASSIGN_OR_RETURN(alone.host, plan::profile_host(*only.profile, only.machine.profile, programs, only.machine.power));
  } else {
    SUANLI_ASSIGN_OR_RETURN(alone.host, plan::device_host(*only.device, programs, only.machine.power));
    alone.host.nodes = 1.0 / only.device->per_node;
    alone.host.devices_per_node = only.device->per_node;
  }
  alone.members = {only};
  return alone;
}

}  // namespace suanli::cli
