// suanli meter: what a run really used.
#include <filesystem>

#include "suanli/base/text.h"
#include "suanli/cli/meter_report.h"
#include "suanli/cli/plan_options.h"
#include "suanli/cli/plan_report.h"
#include "suanli/cli/progress.h"
#include "suanli/cli/verb.h"
#include "suanli/plan/profile_path.h"

namespace suanli::cli {
namespace {

struct Options {
  bool json = false, why = false;
  std::string run, profile, price_per_hour, electricity, watts;
};

// The given profile, or the one that `suanli calibrate` left here if it is of this machine and host: homes are shared and copied.
// None: nothing.
Result<std::optional<plan::Profile>> find_profile(const Options& options) {
  if (!options.profile.empty()) {
    SUANLI_ASSIGN_OR_RETURN(plan::Profile profile, plan::load_profile(options.profile));
    return profile;
  }
  const std::string path = plan::default_profile_path();
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return std::nullopt;
  auto profile = plan::load_profile(path);
  if (!profile) {
    write_stderr(warning_text(profile.error()) + "\n");
    return std::nullopt;
  }
  const plan::Here here = plan::here();
  if (profile->machine == here.machine && profile->cores == here.cores && profile->host == here.host) return std::move(*profile);
  write_stderr(warning_text({ErrorCode::mismatch,
                             "the profile is not used: it is of " + printable(profile->machine) + " (host " +
                                 printable(profile->host) + "), and this is " + printable(here.machine) + " (host " +
                                 printable(here.host) + "); to use it all the same, name it with --on",
                             path, ""}) +
               "\n");
  return std::nullopt;
}

Result<int> run_meter(const Options& options, const Context& context) {
  MeterTerms terms;
  SUANLI_ASSIGN_OR_RETURN(terms.price_per_hour,
                          quantity_of(options.price_per_hour, plan::QuantityKind::dollars_per_hour, "--price-per-hour"));
  SUANLI_ASSIGN_OR_RETURN(terms.electricity, electricity_price(options.electricity));
  terms.electricity_is_given = !options.electricity.empty();
  SUANLI_ASSIGN_OR_RETURN(const auto watts, quantity_of(options.watts, plan::QuantityKind::watts, "--watts"));
  if (watts) terms.watts = Watts(*watts);
  SUANLI_ASSIGN_OR_RETURN(const auto profile, find_profile(options));
  terms.profile = profile ? &*profile : nullptr;
  terms.profile_is_given = !options.profile.empty();
  SUANLI_ASSIGN_OR_RETURN(const MeterReport meter, meter_run(options.run, terms));
  for (const Error& warning : meter.report.warnings) write_stderr(warning_text(warning) + "\n");
  if (options.json)
    emit("meter", meter_json(meter));
  else
    write_stdout(meter_text(meter, context.out, options.why));
  return 0;
}

}  // namespace

void add_meter(Verb root, Request& request) {
  auto options = std::make_shared<Options>();
  Verb verb = root.verb(
      "meter", "What a run really used: operations, bytes, seconds, energy, money",
      "Adds up all sessions of a run, killed ones too, also while it trains: operations by op, bytes moved, seconds by cause, "
      "energy (counted by the machine where it counts, else estimated from its power) and money; and compares them with what "
      "was planned before the run began (train keeps a plan if `suanli calibrate` has left a profile), or with a plan made "
      "now.",
      {{"meter runs/quickstart-1", "what it took, and where it went"},
       {"meter runs/quickstart-1 --price-per-hour 0.40 --watts 120", "on a rented machine of known power"},
       {"meter runs/quickstart-1 --on profile.json --json", "against what this profile predicts, for programs"}});
  verb.argument("RUN", options->run, "Folder of the run");
  verb.option("--on", options->profile, "Profile to plan from (see `suanli calibrate`), instead of the plan that the run keeps",
              "FILE");
  verb.option("--price-per-hour", options->price_per_hour,
              "Price of the machine for an hour, electricity in it unless --electricity is given", "USD");
  verb.option("--electricity", options->electricity, "Price of electricity, or the name of one, such as us-household", "USD/kWh");
  verb.option("--watts", options->watts, "Power of the machine under load; replaces what it counts by itself", "W");
  verb.flag("--why", options->why, kWhyFlagHelp);
  verb.json_flag(options->json);
  on_chosen(verb, request, options, run_meter);
}

}  // namespace suanli::cli
