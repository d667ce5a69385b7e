// suanli replay: steps of a run computed again, and where they differ from what was recorded.
#include <filesystem>

#include "suanli/base/clock.h"
#include "suanli/base/text.h"
#include "suanli/cli/output.h"
#include "suanli/cli/progress.h"
#include "suanli/cli/replica_options.h"
#include "suanli/cli/signals.h"
#include "suanli/proof/claims.h"
#include "suanli/proof/replay.h"

namespace suanli::cli {
namespace {

constexpr std::int64_t kUnset = -1;
constexpr Bytes kMostClaims{std::int64_t{1} << 32};

struct Options {
  bool json = false;
  std::string run, against;
  std::int64_t from = kUnset, steps = kUnset;
  ReplicaFlags replica;
};

// What is to be replayed, and against whom.
struct Task {
  std::unique_ptr<proof::RecordWitness> own;  // RUN's records
  std::unique_ptr<proof::Witness> other;      // --against; null: the run's own records
  std::int64_t from = 0, to = 0;
  proof::Stretch stretch;    // of the two records
  bool are_records = false;  // `other` is those of a run

  proof::Witness& witness() const { return other ? *other : *own; }
  // The records end alike, and nothing between differs.
  bool is_settled() const { return are_records && !stretch.differs && stretch.equal == to; }
};

// Against another run: the stretch between two roots in which they begin to differ.
Status compare_records(Task& task, const Options& options, std::unique_ptr<proof::RecordWitness> theirs) {
  if (const auto difference = task.own->run().difference_to(theirs->run(), task.from, task.to))
    return fail(ErrorCode::mismatch, "it is not a run of the same job: " + *difference, options.against,
                "compare runs whose steps are to be equal");
  task.stretch = proof::narrow(task.own->roots(), theirs->roots(), task.from, task.to);
  task.are_records = true;
  task.other = std::move(theirs);
  if (task.stretch.differs) task.to = *task.stretch.differs;
  if (task.stretch.equal && !task.is_settled()) task.from = *task.stretch.equal;
  return {};
}

Status compare_claims(Task& task, const Options& options, const proof::Replica& replica) {
  SUANLI_ASSIGN_OR_RETURN(const std::string text, read_file(options.against, kMostClaims));
  SUANLI_ASSIGN_OR_RETURN(proof::Claims claims, proof::parse_claims(text, options.against));
  const std::int64_t step = claims.step;
  if (step < 1 || (options.from != kUnset && step <= task.from) || (options.steps != kUnset && step > task.to))
    return fail(ErrorCode::usage,
                "the file tells of step " + std::to_string(step) + ", not of those from " + std::to_string(task.from + 1) +
                    " to " + std::to_string(task.to),
                options.against, "leave --from and --steps out");
  if (claims.job != replica.run().digest_at(step))
    return fail(ErrorCode::mismatch,
                "it tells of a step of another job (of another model, dataset, seed, arithmetic or length)", options.against,
                "compare with the same job on another machine");
  if (options.from == kUnset) task.from = step - 1;
  if (options.steps == kUnset) task.to = step;
  task.other = std::make_unique<proof::ClaimWitness>(std::move(claims), options.against);
  return {};
}

Result<Task> task_of(const Options& options, const proof::Replica& replica) {
  Task task;
  SUANLI_ASSIGN_OR_RETURN(task.own, proof::RecordWitness::open(options.run));
  task.from = options.from != kUnset ? options.from : 0;
  task.to = options.steps != kUnset ? task.from + options.steps : std::max(task.own->last_step(), task.from);
  if (task.to > replica.job().train.steps)
    return fail(
        ErrorCode::usage,
        "step " + std::to_string(task.to) + " is beyond the " + std::to_string(replica.job().train.steps) + " of the job",
        options.steps == kUnset ? "--from" : "--steps", "the run has recorded " + std::to_string(task.own->last_step()));
  if (std::filesystem::is_directory(options.against)) {
    SUANLI_ASSIGN_OR_RETURN(auto theirs, proof::RecordWitness::open(options.against));
    SUANLI_RETURN_IF_ERROR(compare_records(task, options, std::move(theirs)));
  } else if (!options.against.empty()) {
    SUANLI_RETURN_IF_ERROR(compare_claims(task, options, replica));
  }
  if (!task.is_settled()) {
    SUANLI_ASSIGN_OR_RETURN(task.from, replica.nearest(task.from));
  }
  return task;
}

// What was found, and who is not what this machine computed.
struct Verdict {
  proof::Replay replay;
  bool blames_run = false, blames_other = false;
  Seconds seconds;

  bool is_equal() const { return !blames_run && !blames_other; }
  std::string accused() const {
    if (blames_run && blames_other) return "both";
    return blames_run ? "run" : blames_other ? "against" : "";
  }
};

Result<Verdict> judge(const Task& task, proof::Replica& replica, const std::function<void(std::int64_t)>& on_step) {
  Verdict verdict;
  proof::Replay& found = verdict.replay;
  found.from = task.from;
  found.to = task.to;
  if (task.is_settled()) {
    found.last_compared = task.stretch.equal;
  } else {
    const proof::ReplayOptions options{
        .from = task.from, .steps = task.to - task.from, .on_step = on_step, .stop = stop_on_signals()};
    SUANLI_ASSIGN_OR_RETURN(found, proof::replay(replica, task.witness(), options));
    (task.other ? verdict.blames_other : verdict.blames_run) = found.difference.has_value();
    // Two records that differ: at least one of them is not what this machine computes.
    if (task.stretch.differs) {
      SUANLI_ASSIGN_OR_RETURN(proof::Replay own, proof::replay(replica, *task.own, options));
      verdict.blames_run = own.difference.has_value();
      own.recomputed_steps += found.recomputed_steps;
      own.compared_roots += found.compared_roots;
      own.compared_figures += found.compared_figures;
      if (verdict.blames_run && !verdict.blames_other) found = std::move(own);
    }
  }
  found.compared_roots += task.stretch.compared;
  return verdict;
}

Json difference_json(const std::optional<proof::Difference>& difference) {
  if (!difference) return nullptr;
  Json output = nullptr, element = nullptr;
  if (difference->output) {
    output = {{"text", difference->output->to_string()}};
    output.update(proof::json_of(*difference->output));
  }
  if (difference->element) {
    const proof::ElementDifference& e = *difference->element;
    element = {{"first", e.first},
               {"count", e.count},
               {"position", proof::position_of(difference->output->type, e.first)},
               {"mine", e.mine ? Json(*e.mine) : Json(nullptr)},
               {"theirs", e.theirs ? Json(*e.theirs) : Json(nullptr)}};
  }
  return {{"step", difference->step},    {"last_equal", difference->last_equal ? Json(*difference->last_equal) : Json(nullptr)},
          {"sign", difference->sign},    {"is_state_after", difference->is_state_after},
          {"output", std::move(output)}, {"element", std::move(element)}};
}

std::string counted(std::int64_t count, const std::string& noun) {
  return format_count(count) + " " + noun + (count == 1 ? "" : "s");
}

// Where the op is to be had that the records do not tell of.
std::string hint(const proof::Replay& found, const std::string& folder, const std::string& run) {
  if (found.difference->step == found.from)
    return "the state of that checkpoint is not what was recorded: begin with an earlier one\n";
  const std::string step = std::to_string(found.difference->step);
  return "not known: records tell of states. If it happens again on the machine that made " + folder + ", `suanli digest " +
         folder + " --step " + step + " --ops --json > ops.json` there and `suanli replay " + run +
         " --against ops.json` here name it\n";
}

std::string text_of(const proof::Replay& found, const std::string& folder, const std::string& run) {
  const proof::Difference& difference = *found.difference;
  std::string text = "differs    in step " + format_count(difference.step) + " (" + difference.sign + ")";
  if (difference.last_equal && *difference.last_equal < difference.step - 1)
    text += "; the state was last compared, and equal, after step " + format_count(*difference.last_equal);
  text += "\n";
  if (!difference.output && found.has_compared_ops && found.notes.empty())
    return text + "op         none: all outputs of the step are equal, only what is said of the state after it differs\n";
  if (!difference.output) return text + "op         " + hint(found, folder, run);
  const proof::OpOutput& output = *difference.output;
  text += difference.is_state_after ? "tensor     '" + printable(output.value) + "' (" + output.type.to_string() +
                                          ") after step " + format_count(difference.step)
                                    : "op         " + output.to_string();
  text += "\n";
  if (!difference.element) return text;
  const proof::ElementDifference& e = *difference.element;
  text += "element    " + proof::position_of(output.type, e.first);
  if (e.count > 1) text += " or one of the " + format_count(e.count - 1) + " after it";
  if (e.mine) text += ": " + *e.mine + " here, " + *e.theirs + " there";
  return text + "\n";
}

std::string text_of(const Verdict& verdict, const Task& task, const Options& options, const proof::Replica& replica) {
  const proof::Replay& found = verdict.replay;
  const std::string isa = isa_of(replica);
  std::string text = "replayed   " + counted(found.recomputed_steps, "step");
  if (found.recomputed_steps > 0)
    text += " from step " + format_count(found.from) + " in " + format_duration(verdict.seconds) + ", " +
            counted(replica.threads(), "thread") + (isa.empty() ? "" : ", " + isa);
  text += "\ncompared   " + counted(found.compared_roots, "root") + " and the losses and gradient norms of " +
          counted(found.compared_figures, "step") + (found.has_compared_ops ? ", and every op of one," : "") + " with " +
          task.witness().name() + "\n";
  for (const Error& note : found.notes) text += "note       " + note.to_string() + "\n";
  if (verdict.is_equal()) {
    if (!found.last_compared) return text + "equal      all ops of step " + format_count(found.to) + "\n";
    text += "equal      up to step " + format_count(*found.last_compared);
    if (*found.last_compared < found.to) text += "; nothing is recorded of those after it, to step " + format_count(found.to);
    return text + "\n";
  }
  if (task.stretch.differs)
    text += "wrong      " +
            (verdict.accused() == "both" ? "both runs"
             : verdict.blames_run        ? options.run
                                         : options.against) +
            ", by what this machine computes\n";
  return text + text_of(found, verdict.blames_run || !task.are_records ? options.run : options.against, options.run);
}

Result<int> run_replay(const Options& options, const Context& context) {
  SUANLI_ASSIGN_OR_RETURN(const auto replica, make_replica(options.run, options.replica));
  SUANLI_ASSIGN_OR_RETURN(const Task task, task_of(options, *replica));
  const Seconds begun = real_clock().now();
  Result<Verdict> judged = Verdict();
  {
    Progress progress(options.json ? Terminal() : context.err,
                      options.json ? Progress::Sink([](std::string_view) {}) : write_stderr);
    judged = judge(task, *replica, [&](std::int64_t step) {
      progress.show([&] {
        const double done = static_cast<double>(step - task.from), all = static_cast<double>(task.to - task.from);
        const Seconds spent = real_clock().now() - begun;
        return "replay  step " + format_count(step) + " of " + format_count(task.to) + "  ETA " +
               format_duration(spent * std::max(0.0, all / std::max(1.0, done) - 1));
      });
    });
  }
  if (!judged) return tl::unexpected(std::move(judged).error());
  Verdict& verdict = *judged;
  verdict.seconds = real_clock().now() - begun;
  const proof::Replay& found = verdict.replay;
  if (verdict.is_equal() && !found.last_compared && !found.has_compared_ops)
    return fail(
        ErrorCode::not_found,
        task.witness().name() + " say nothing of steps " + std::to_string(task.from + 1) + " to " + std::to_string(task.to),
        options.steps == kUnset ? "--from" : "--steps",
        "choose steps that the run has recorded: up to " + std::to_string(task.own->last_step()));
  if (options.json) {
    Json notes = Json::array();
    for (const Error& note : found.notes) notes.push_back(json_of(note));
    emit("replay", {{"run", options.run},
                    {"against", task.witness().name()},
                    {"arithmetic", arithmetic_of(replica->job().train.dtype)},
                    {"isa", isa_of(*replica)},
                    {"threads", replica->threads()},
                    {"from", found.from},
                    {"to", found.to},
                    {"recomputed_steps", found.recomputed_steps},
                    {"compared_roots", found.compared_roots},
                    {"compared_figures", found.compared_figures},
                    {"compared_ops", found.has_compared_ops},
                    {"last_compared", found.last_compared ? Json(*found.last_compared) : Json(nullptr)},
                    {"seconds", verdict.seconds.value()},
                    {"equal", verdict.is_equal()},
                    {"accused", verdict.accused()},
                    {"difference", difference_json(found.difference)},
                    {"notes", std::move(notes)}});
  } else {
    write_stdout(text_of(verdict, task, options, *replica));
  }
  return verdict.is_equal() ? 0 : exit_code_of(ErrorCode::differs);
}

}  // namespace

void add_replay(Verb root, Request& request) {
  auto options = std::make_shared<Options>();
  Verb verb = root.verb("replay", "Compute steps of a run again and compare",
                        "Restores a checkpoint of a run (or its beginning), computes steps again on this machine, and compares "
                        "losses, gradient norms "
                        "and digests with what the run has recorded, or with what another machine says. Names the first step "
                        "that differs and, where "
                        "it can be known, the op and the element. Exit code 8 if something differs. The bits of a run in exact "
                        "arithmetic are the same on "
                        "every machine; those of other runs on the same machine. Ctrl-C stops it between two steps.",
                        {{"replay runs/quickstart-1 --from 100 --steps 50", "against what the run has recorded"},
                         {"replay runs/exact --from 0 --steps 20 --isa scalar --threads 1", "without vector instructions"},
                         {"replay runs/mine --against runs/theirs", "where two runs of one job begin to differ"},
                         {"replay runs/mine --against ops.json",
                          "one step, op by op, against `suanli digest RUN --step N --ops --json` of another machine"}});
  verb.argument("RUN", options->run, "Folder of the run");
  verb.option("--from", options->from,
              "State to begin with: 0, or a step with a checkpoint; else the nearest before it. Default: 0, or as "
              "--against asks for",
              kUnset, std::int64_t{1} << 53);
  verb.option("--steps", options->steps, "Steps to compare. Default: to the last that was recorded", kUnset,
              std::int64_t{1} << 53);
  verb.option("--against", options->against,
              "Folder of another run of the same job, or a file of op digests; the run's own records "
              "unless given",
              "PATH");
  add_replica_flags(verb, options->replica);
  verb.json_flag(options->json);
  on_chosen(verb, request, options, run_replay);
}

}  // namespace suanli::cli
