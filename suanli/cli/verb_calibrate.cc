// suanli calibrate: what this machine was measured to do.
#include <filesystem>

#include "suanli/base/file.h"
#include "suanli/base/text.h"
#include "suanli/base/thread_pool.h"
#include "suanli/cli/calibration_text.h"
#include "suanli/cli/progress.h"
#include "suanli/cli/roofline.h"
#include "suanli/cli/signals.h"
#include "suanli/cli/verb.h"
#include "suanli/plan/calibrate.h"
#include "suanli/plan/profile_path.h"

namespace suanli::cli {
namespace {

struct Options {
  bool json = false, quick = false;
  std::string dtype = "all", out, plot;
  std::int64_t threads = 0;
};

// Both files are written at the end: a wrong path is told before the minutes are spent.
Status check_path(const std::string& path, const char* flag) {
  if (path.empty()) return {};
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    return fail(ErrorCode::usage, "'" + printable(path) + "' is a folder", flag, "give the name of a file in it");
  if (std::filesystem::exists(path, ignored) && !std::filesystem::is_regular_file(path, ignored))
    return fail(ErrorCode::usage, "'" + printable(path) + "' is no regular file", flag, "give another name");
  SUANLI_ASSIGN_OR_RETURN(const AtomicFile trial, AtomicFile::create(path));
  return {};
}

std::string folder_of(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path();
  return parent.empty() ? "." : parent;
}

std::vector<engine::Arithmetic> arithmetics_of(const Options& options) {
  if (const auto one = engine::arithmetic_from_name(options.dtype)) return {*one};
  return {engine::Arithmetic::f32, engine::Arithmetic::bf16};
}

std::string progress_text(const plan::CalibrateProgress& at) {
  return format("calibrating: %s, %.0f %%", at.doing.c_str(), 100 * at.done) +
         (at.left > Seconds(0) ? "  ETA " + format_duration(at.left) : "");
}

Result<int> run_calibrate(const Options& options, const Context& context) {
  const std::string out = options.out.empty() ? plan::default_profile_path() : options.out;
  if (options.out.empty()) SUANLI_RETURN_IF_ERROR(make_folders(folder_of(out)));
  SUANLI_RETURN_IF_ERROR(check_path(out, "--out"));
  SUANLI_RETURN_IF_ERROR(check_path(options.plot, "--plot"));
  Progress progress(context.err, write_stderr);
  plan::CalibrateOptions how{.quick = options.quick,
                             .threads = options.threads > 0 ? static_cast<int>(options.threads) : available_cores(),
                             .arithmetics = arithmetics_of(options),
                             .folder = folder_of(out),
                             .stop = stop_on_signals()};
  if (!options.json)
    how.progress = [&](const plan::CalibrateProgress& at) { progress.show([&] { return progress_text(at); }); };
  SUANLI_ASSIGN_OR_RETURN(const plan::Profile profile, plan::calibrate(how));
  progress.finish();
  if (profile.threads > profile.cores)
    write_stderr(format("warning: %d threads share %d core%s: the figures are of both\n  next: use --threads %d\n",
                        profile.threads, profile.cores, profile.cores == 1 ? "" : "s", profile.cores));
  else if (profile.disturbed_share() > plan::kMuchDisturbed)
    write_stderr(
        format("warning: other programs had cores that were wanted here (%.0f %% of one core's time): times are longer than the "
               "machine's own, and their intervals were stretched %.1f times\n  next: calibrate again when the machine has "
               "nothing else to do\n",
               100 * profile.waited_share, plan::waiting_factor(profile)));
  SUANLI_RETURN_IF_ERROR(write_file_atomic(out, as_bytes(plan::print_profile(profile))));
  if (!options.plot.empty()) SUANLI_RETURN_IF_ERROR(write_file_atomic(options.plot, as_bytes(roofline_svg(profile))));
  if (options.json) {
    emit("calibrate", calibration_json(profile));
    return 0;
  }
  write_stdout(calibration_text(profile));
  write_stderr("profile: " + out + "\n");
  return 0;
}

}  // namespace

void add_calibrate(Verb root, Request& request) {
  auto options = std::make_shared<Options>();
  Verb verb = root.verb(
      "calibrate", "What this machine can do, measured, with a spread",
      "Measures the limits of cores and memory, matrix products by arithmetic and class of shape, the kernels of small "
      "training "
      "steps, what it costs to launch one, and the disk, in rounds that alternate. Each figure is a median with an interval "
      "that "
      "holds what four of five further calibrations find. Takes one to two minutes, or under 20 seconds with --quick; the "
      "machine should have nothing else to do. The profile is what `suanli plan` and `suanli compare` reckon with; without "
      "--out "
      "it is kept where they look for this machine's.",
      {{"calibrate --out profile.json", "the profile of this machine, in less than three minutes"},
       {"calibrate --quick --plot roofline.svg", "a first look in under 20 seconds, with a picture"},
       {"calibrate --threads 1 --dtype f32 --json", "one thread in f32, for programs"}});
  verb.flag("--quick", options->quick, "Fewer sizes and rounds: under 20 seconds");
  verb.option("--threads", options->threads, "Threads that compute; 0: as many as there are cores", 0, 1024);
  verb.choice("--dtype", options->dtype, {"all", "f32", "bf16"}, "Arithmetics to measure");
  verb.option("--out", options->out,
              "Write the profile there, instead of where `plan` looks for it; the disk of that folder is measured", "FILE");
  verb.option("--plot", options->plot, "Write a roofline plot as SVG", "FILE");
  verb.json_flag(options->json);
  on_chosen(verb, request, options, run_calibrate);
}

}  // namespace suanli::cli
