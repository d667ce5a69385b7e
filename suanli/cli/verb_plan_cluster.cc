// suanli plan cluster: what a cluster costs.
#include "suanli/cli/plan_options.h"
#include "suanli/cli/plan_report.h"
#include "suanli/cli/verb.h"

namespace suanli::cli {
namespace {

using plan::QuantityKind;

struct Options {
  bool json = false, why = false;
  ClusterOptions cluster;
  std::string days, household;
};

Result<int> run_cluster(const Options& options, const Context&) {
  SUANLI_ASSIGN_OR_RETURN(const plan::ClusterSetup setup, cluster_of(options.cluster, true));
  plan::ClusterQuestion question;
  SUANLI_ASSIGN_OR_RETURN(question.days, quantity_of(options.days, QuantityKind::days, "--days"));
  SUANLI_ASSIGN_OR_RETURN(question.household_watts, quantity_of(options.household, QuantityKind::household_power, "--household"));
  SUANLI_ASSIGN_OR_RETURN(const plan::Report report, plan::plan_cluster(setup, question));
  print_plan("plan cluster", report, options.json, options.why, {{"device", setup.device.name}});
  return 0;
}

}  // namespace

void add_plan_cluster(Verb plan, Request& request) {
  auto options = std::make_shared<Options>();
  Verb verb = plan.verb("cluster", "What a cluster of accelerators costs, draws and can do",
                        "Capital for devices and what surrounds them, power with machine, network and building, and how many "
                        "households draw as much. "
                        "With --days also energy, electricity and depreciation of that time.",
                        {{"plan cluster --device H100 --count 100000", "capital and power"},
                         {"plan cluster --device H100 --count 100000 --price 30000 --network-price 1 --surroundings-power 2 "
                          "--pue 1 --days 100 --electricity founding",
                          "by the conventions of the project's founding documents"},
                         {"plan cluster --device B200 --count 1024 --household \"3500 kWh/year\" --json",
                          "with European households, for programs"}});
  add_cluster_flags(verb, options->cluster);
  verb.option("--days", options->days, "For so long", "TIME");
  verb.option("--household", options->household, "What a household uses, such as 10800 kWh/year, 900 kWh/month or 1.2 kW", "USE");
  verb.flag("--why", options->why, kWhyFlagHelp);
  verb.json_flag(options->json);
  on_chosen(verb, request, options, run_cluster);
}

}  // namespace suanli::cli
