#include "suanli/proof/replay.h"

#include <algorithm>

#include "suanli/base/text.h"

namespace suanli::proof {
namespace {

class Search {
 public:
  Search(Replica& mine, Witness& theirs, const ReplayOptions& options) : mine_(mine), theirs_(theirs), options_(options) {}

  Result<Replay> run() && {
    result_.from = options_.from;
    result_.to = options_.from + options_.steps;
    SUANLI_RETURN_IF_ERROR(mine_.restore(options_.from));
    SUANLI_ASSIGN_OR_RETURN(std::string sign, compare());
    while (sign.empty() && mine_.step() < result_.to) {
      SUANLI_RETURN_IF_ERROR(advance());
      SUANLI_ASSIGN_OR_RETURN(sign, compare());
    }
    if (!sign.empty()) {
      explain(std::move(sign));
    } else if (options_.steps > 0) {
      SUANLI_RETURN_IF_ERROR(compare_last_ops());
    }
    return std::move(result_);
  }

 private:
  Status advance() {
    if (train::is_stopped(options_.stop))
      return fail(ErrorCode::interrupted,
                  "stopped after step " + std::to_string(mine_.step()) +
                      (result_.last_compared ? "; equal up to step " + std::to_string(*result_.last_compared) : ""),
                  mine_.folder(), "begin with the nearest checkpoint before that step");
    SUANLI_RETURN_IF_ERROR(mine_.advance());
    ++result_.recomputed_steps;
    if (options_.on_step) options_.on_step(mine_.step());
    return {};
  }

  // What differs after the last step, or nothing.
  Result<std::string> compare() {
    const std::int64_t step = mine_.step();
    if (mine_.figures()) {
      SUANLI_ASSIGN_OR_RETURN(const std::optional<StepFigures> theirs, theirs_.figures(step));
      if (theirs) {
        ++result_.compared_figures;
        if (theirs->loss != mine_.figures()->loss) return "loss";
        if (theirs->grad_norm != mine_.figures()->grad_norm) return "grad_norm";
        result_.last_compared = step;
      }
    }
    SUANLI_ASSIGN_OR_RETURN(const std::vector<Digest> roots, theirs_.roots(step));
    if (roots.empty()) return "";
    ++result_.compared_roots;
    const Digest mine = mine_.root();
    if (std::ranges::any_of(roots, [&](const Digest& root) { return root != mine; })) return "root";
    last_equal_ = result_.last_compared = step;
    return "";
  }

  // A witness may tell the truth of a state and not of the ops that led there.
  Status compare_last_ops() {
    SUANLI_ASSIGN_OR_RETURN(const auto ops, theirs_.ops(result_.to));
    if (ops.empty()) return {};
    Difference difference{
        .step = result_.to, .last_equal = {}, .sign = "ops", .output = {}, .is_state_after = false, .element = {}};
    if (last_equal_ && *last_equal_ < result_.to) difference.last_equal = last_equal_;
    SUANLI_RETURN_IF_ERROR(find_among(ops, difference));
    if (difference.output) result_.difference = std::move(difference);
    return {};
  }

  // What cannot be found does not take back that something differs.
  void explain(std::string sign) {
    Difference difference{.step = mine_.step(),
                          .last_equal = last_equal_,
                          .sign = std::move(sign),
                          .output = {},
                          .is_state_after = false,
                          .element = {}};
    auto state = theirs_.state(difference.step);
    if (!state) result_.notes.push_back(std::move(state).error());
    const std::optional<Difference> in_state = state ? find_in(*state, difference) : std::nullopt;
    if (difference.step > options_.from) {
      auto ops = theirs_.ops(difference.step);
      if (!ops) result_.notes.push_back(std::move(ops).error());
      if (ops && !ops->empty())
        if (Status found = find_among(*ops, difference); !found) result_.notes.push_back(std::move(found).error());
    }
    result_.difference = difference.output || !in_state ? difference : *in_state;
  }

  // The first tensor of the state that differs, as the replica has it now.
  std::optional<Difference> find_in(const std::vector<checkpoint::NamedTensor>& state, Difference difference) {
    for (const checkpoint::NamedTensor& tensor : state) {
      const auto mine = mine_.read(tensor.name);
      if (!mine || mine->size() != tensor.data.size()) continue;
      difference.element = first_difference(tensor.type, *mine, tensor.bytes());
      if (!difference.element) continue;
      difference.output = state_output(mine_.graph(), tensor.name, tensor.type);
      difference.is_state_after = true;
      return difference;
    }
    return std::nullopt;
  }

  // Makes the step again and compares output after output.
  Status find_among(const std::vector<OpDigest>& theirs, Difference& difference) {
    SUANLI_ASSIGN_OR_RETURN(const std::int64_t from, mine_.nearest(difference.step - 1));
    SUANLI_RETURN_IF_ERROR(mine_.restore(std::max(from, options_.from)));
    while (mine_.step() < difference.step - 1) SUANLI_RETURN_IF_ERROR(advance());
    OutputCounter counter;
    std::optional<std::size_t> first, misfit;
    OpOutput made;  // where they do not fit
    std::vector<std::byte> bytes;
    const auto compare = [&](const OpOutput& output, std::span<std::byte> mine) {
      if (counter.next(output)) first.reset(), misfit.reset();
      if (first || misfit) return false;
      const std::size_t at = counter.index();
      if (at >= theirs.size() || theirs[at].output != output) {
        misfit = at;
        made = output;
      } else if (theirs[at].leaves != leaves_of(output.type, mine)) {
        first = at;
        bytes.assign(mine.begin(), mine.end());
      }
      return false;
    };
    SUANLI_RETURN_IF_ERROR(mine_.advance(compare));
    ++result_.recomputed_steps;
    result_.has_compared_ops = true;
    const std::size_t count = counter.index() + 1;
    if (misfit || (!first && theirs.size() != count))
      return fail(
          ErrorCode::mismatch,
          "it lists " + std::to_string(theirs.size()) + " outputs of step " + std::to_string(difference.step) + ", here " +
              std::to_string(count) + " are made" +
              (misfit ? "; the first that does not fit is output " + std::to_string(*misfit) + ", here " + made.to_string()
                      : ""),
          theirs_.name(), "compare whole lists, made by a suanli of this version");
    if (!first) return {};
    const OpDigest& other = theirs[*first];
    difference.output = other.output;
    SUANLI_ASSIGN_OR_RETURN(const auto values, theirs_.output(difference.step, *first));
    // The state differed before this step was made: it is what an earlier one left.
    if (other.output.op == "state" && difference.last_equal != difference.step - 1) {
      difference.step -= 1;
      difference.is_state_after = true;
    }
    if (values && values->size() == bytes.size()) {
      difference.element = first_difference(other.output.type, bytes, *values);
    } else {
      SUANLI_ASSIGN_OR_RETURN(difference.element, first_difference(other.output.type, bytes, other.leaves));
    }
    return {};
  }

  Replica& mine_;
  Witness& theirs_;
  const ReplayOptions& options_;
  Replay result_;
  std::optional<std::int64_t> last_equal_;
};

}  // namespace

Result<Replay> replay(Replica& mine, Witness& theirs, const ReplayOptions& options) {
  return Search(mine, theirs, options).run();
}

Stretch narrow(const Roots& mine, const Roots& theirs, std::int64_t from, std::int64_t to) {
  Stretch stretch;
  for (auto known = mine.lower_bound(from); known != mine.end() && known->first <= to; ++known) {
    const auto other = theirs.find(known->first);
    if (other == theirs.end()) continue;
    ++stretch.compared;
    const auto& [step, roots] = *known;
    if (roots.size() > 1 || roots != other->second) {
      stretch.differs = step;
      break;
    }
    stretch.equal = step;
  }
  return stretch;
}

}  // namespace suanli::proof
