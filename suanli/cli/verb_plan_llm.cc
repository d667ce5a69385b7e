// suanli plan llm: a large model on accelerators.
#include "suanli/cli/plan_options.h"
#include "suanli/cli/plan_report.h"
#include "suanli/cli/verb.h"

namespace suanli::cli {
namespace {

struct Options {
  bool json = false, why = false;
  LargeRunOptions run;
};

Json head_of(const plan::LargeRun& run, const plan::TrainingSetup& setup) {
  const plan::Transformer& model = setup.model;
  const plan::Layout& layout = setup.layout;
  Json head = {{"device", setup.device.name}, {"devices", run.cluster.devices}, {"dtype", setup.dtype}};
  head["model"] = {{"parameters", model.parameters},
                   {"active_parameters", model.active()},
                   {"layers", model.layers},
                   {"width", model.width},
                   {"heads", model.heads},
                   {"context", model.context},
                   {"vocab", model.vocab}};
  head["layout"] = {{"tensor", layout.tensor},
                    {"pipeline", layout.pipeline},
                    {"data", layout.data},
                    {"interleave", layout.interleave},
                    {"sequence_parallel", layout.sequence_parallel},
                    {"shard", layout.shard},
                    {"global_batch", setup.global_batch},
                    {"micro_batch", setup.micro_batch},
                    {"recomputation", plan::name_of(setup.recomputation)},
                    {"flash", setup.flash},
                    {"stack", plan::name_of(setup.stack)}};
  return head;
}

Result<int> run_llm(const Options& options, const Context&) {
  SUANLI_ASSIGN_OR_RETURN(const plan::LargeRun run, large_run_of(options.run, true));
  SUANLI_ASSIGN_OR_RETURN(const plan::LargePlan plan, plan::plan_large_run(run));
  print_plan("plan llm", plan.report, options.json, options.why, head_of(run, plan.setup));
  return 0;
}

}  // namespace

void add_plan_llm(Verb plan, Request& request) {
  auto options = std::make_shared<Options>();
  Verb verb = plan.verb(
      "llm", "A large language model on many accelerators: time, memory, faults, energy, money",
      "Closed forms over the table of accelerators, for runs that no machine at hand could try. What is not stated is assumed, "
      "and --why lists each "
      "assumption with its source. The MFU is predicted from device, model and layout unless it is stated; a layout that is not "
      "stated is the fastest "
      "that fits. If nothing fits, the answer is an error with the three cheapest ways to make it fit.",
      {{"plan llm --params 405e9 --tokens 15.6e12 --device H100 --count 16384", "Llama 3 405B, with everything else assumed"},
       {"plan llm --params 405B --tokens 15.6T --device H100 --count 16384 --mfu 0.40 --mtbf 3h --why",
        "its published MFU and faults, and why"},
       {"plan llm --params 70B --tokens 2T --device A100 --count 1024 --tp 8 --pp 4 --price-per-hour 1.5 --json",
        "a stated layout, rented"}});
  add_large_run_flags(verb, options->run);
  verb.flag("--why", options->why, kWhyFlagHelp);
  verb.json_flag(options->json);
  on_chosen(verb, request, options, run_llm);
}

}  // namespace suanli::cli
