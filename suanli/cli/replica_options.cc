#include "suanli/cli/replica_options.h"

#include "suanli/cli/signals.h"
#include "suanli/engine/cpu/exact/isa.h"
#include "suanli/train/run_folder.h"

namespace suanli::cli {

namespace exact = engine::exact;

void add_replica_flags(Verb& verb, ReplicaFlags& flags) {
  std::vector<std::string> isas = {"best"};
  for (const exact::Isa isa : exact::kAllIsas) isas.emplace_back(exact::name_of(isa));
  verb.choice("--isa", flags.isa, isas, "Exact arithmetic: use no instructions beyond these; best: all that the CPU has");
  verb.option("--threads", flags.threads, "Threads that compute; 0: as the run's job says", 0, 1024);
  verb.option("--data", flags.data, "Folder of the run's dataset; as the run's job says unless given", "DIR");
}

Result<std::unique_ptr<proof::Replica>> make_replica(const std::string& run, const ReplicaFlags& flags) {
  SUANLI_ASSIGN_OR_RETURN(const train::RunDescription description, train::describe_run(run));
  if (flags.isa != "best") {
    const exact::Isa isa = exact::isa_from_name(flags.isa).value();
    if (description.job.train.dtype != "exact")
      return fail(ErrorCode::config,
                  "the run's arithmetic is " + description.job.train.dtype + ", whose bits depend on the CPU", "--isa",
                  "leave --isa out, or train with --set arith=exact");
    if (isa > exact::best_isa())
      return fail(ErrorCode::unsupported,
                  "this CPU has no " + flags.isa + "; the best it has is " + std::string(exact::name_of(exact::best_isa())),
                  "--isa", "leave --isa out");
    exact::set_isa_limit(isa);
  }
  return proof::Replica::create(run,
                                {.threads = static_cast<int>(flags.threads), .data = flags.data, .stop = stop_on_signals()});
}

std::string arithmetic_of(const std::string& dtype) { return dtype == "exact" ? std::string(exact::kVersion) : dtype; }

std::string isa_of(const proof::Replica& replica) {
  return replica.job().train.dtype == "exact" ? std::string(exact::name_of(exact::best_isa())) : "";
}

}  // namespace suanli::cli
