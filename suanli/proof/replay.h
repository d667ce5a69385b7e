// Recomputes steps of a run and finds where another computation of them begins to differ: the step, the op and the element.
//
//   SUANLI_ASSIGN_OR_RETURN(auto mine, Replica::create("runs/bible"));
//   SUANLI_ASSIGN_OR_RETURN(auto theirs, RecordWitness::open("runs/bible"));
//   SUANLI_ASSIGN_OR_RETURN(Replay found, replay(*mine, *theirs, {.from = 100, .steps = 50}));
//   if (found.difference) ...
//
// How much is recomputed: one pass over the steps, up to the first that differs; then that step once more, op by op, from the
// snapshot before it. Two records of a run are compared first (narrow()), which recomputes nothing and leaves the stretch
// between two digests, whatever the length of the run (docs/decisions/0011-replay.md).
#pragma once

#include <functional>

#include "suanli/proof/witness.h"

namespace suanli::proof {

struct Difference {
  std::int64_t step = 0;  // the first step whose result differs; replay's `from`: the state that was begun with
  std::optional<std::int64_t> last_equal;  // the last state before it whose roots were compared and equal
  std::string sign;                        // what showed it: "root", "loss", "grad_norm" or "ops"
  // The first output that differs. None if the witness knows neither the step's ops nor its state, or only its root differs.
  std::optional<OpOutput> output;
  bool is_state_after = false;  // the output is a tensor of the state after the step
  std::optional<ElementDifference> element;
};

struct Replay {
  std::int64_t from = 0, to = 0;      // states
  std::int64_t recomputed_steps = 0;  // by `mine`, what is made again to find the op included
  std::int64_t compared_roots = 0, compared_figures = 0;
  bool has_compared_ops = false;
  std::optional<std::int64_t> last_compared;  // the last step of which something was compared and equal
  std::optional<Difference> difference;
  std::vector<Error> notes;  // why the op or the element of the difference could not be found
};

struct ReplayOptions {
  std::int64_t from = 0;  // a state that Replica::restore() can begin with
  std::int64_t steps = 1;
  std::function<void(std::int64_t step)> on_step{};  // after each; may be empty
  train::StopFlag stop = nullptr;
};

// Errors: those of Replica; interrupted; mismatch (the witness tells of another program's ops, and nothing else differs). A
// witness that knows nothing of these steps is no error: see what was compared.
Result<Replay> replay(Replica& mine, Witness& theirs, const ReplayOptions& options);

// States between which two computations of a run begin to differ, by their roots alone: of the steps in [from, to] that both
// know.
struct Stretch {
  std::optional<std::int64_t> equal;    // the last whose roots are equal, before `differs`
  std::optional<std::int64_t> differs;  // the first whose roots differ
  std::int64_t compared = 0;
};
Stretch narrow(const Roots& mine, const Roots& theirs, std::int64_t from, std::int64_t to);

}  // namespace suanli::proof
