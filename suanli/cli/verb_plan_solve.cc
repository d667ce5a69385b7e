// suanli plan solve: inverse questions.
#include "suanli/base/text.h"
#include "suanli/cli/plan_options.h"
#include "suanli/cli/plan_report.h"
#include "suanli/cli/verb.h"
#include "suanli/plan/solve.h"

namespace suanli::cli {
namespace {

using plan::QuantityKind;
using plan::Unknown;

struct Options {
  bool json = false, why = false;
  std::string unknown, days, money, flops, ratio;
  LargeRunOptions run;
};

Result<Unknown> unknown_of(const std::string& text) {
  std::vector<std::string> names;
  for (const auto each :
       {Unknown::parameters, Unknown::tokens, Unknown::devices, Unknown::days, Unknown::money, Unknown::split}) {
    names.emplace_back(each == Unknown::parameters ? "params" : plan::name_of(each));
    if (text == names.back() || text == plan::name_of(each)) return each;
  }
  return fail(ErrorCode::usage, "nothing solves for '" + printable(text) + "'" + did_you_mean(text, names), "suanli plan solve",
              "params, tokens, devices, days, money or split");
}

Result<int> run_solve(const Options& options, const Context&) {
  plan::SolveQuestion question;
  SUANLI_ASSIGN_OR_RETURN(question.unknown, unknown_of(options.unknown));
  LargeRunOptions given = options.run;
  // Splitting a number of FLOPs needs no device; any one stands in.
  if (question.unknown == Unknown::split && !options.flops.empty() && given.cluster.device.empty()) given.cluster.device = "H100";
  SUANLI_ASSIGN_OR_RETURN(question.run, large_run_of(given, false));
  SUANLI_ASSIGN_OR_RETURN(question.days, quantity_of(options.days, QuantityKind::days, "--days"));
  SUANLI_ASSIGN_OR_RETURN(question.money, quantity_of(options.money, QuantityKind::dollars, "--money"));
  SUANLI_ASSIGN_OR_RETURN(question.flops, quantity_of(options.flops, QuantityKind::flops, "--flops"));
  SUANLI_ASSIGN_OR_RETURN(question.tokens_per_parameter,
                          quantity_of(options.ratio, QuantityKind::number, "--tokens-per-param"));
  SUANLI_ASSIGN_OR_RETURN(const plan::Report report, plan::solve(question));
  print_plan("plan solve", report, options.json, options.why, {{"unknown", plan::name_of(question.unknown)}});
  return 0;
}

}  // namespace

void add_plan_solve(Verb plan, Request& request) {
  auto options = std::make_shared<Options>();
  Verb verb = plan.verb(
      "solve", "Inverse questions: the largest model, the most tokens, the fewest devices, the time, the money, the best split",
      "Finds any one of params, tokens, devices, days and money from the others, by the forms of `suanli plan llm`; and `split`: "
      "how a computing budget is best "
      "divided between parameters and tokens (about 20 tokens for each parameter). What is missing or too much is an error.",
      {{"plan solve params --device H100 --count 100000 --days 100 --tokens 15e12", "the largest model"},
       {"plan solve devices --params 70B --tokens 2T --device H100 --days 30", "the smallest cluster"},
       {"plan solve tokens --params 8B --device H100 --count 256 --money 1M --price-per-hour 2.5",
        "the most tokens for a million dollars"},
       {"plan solve split --flops 1e24", "the model and the tokens that make most of it"}});
  verb.argument("WHAT", options->unknown, "params, tokens, devices, days, money or split");
  verb.option("--days", options->days, "From the first step to the last", "TIME");
  verb.option("--money", options->money, "For the run", "USD");
  verb.option("--flops", options->flops, "Of the run, for split", "FLOP");
  verb.option("--tokens-per-param", options->ratio, "Of a split, instead of about 20", "RATIO");
  add_large_run_flags(verb, options->run);
  verb.flag("--why", options->why, kWhyFlagHelp);
  verb.json_flag(options->json);
  on_chosen(verb, request, options, run_solve);
}

}  // namespace suanli::cli
