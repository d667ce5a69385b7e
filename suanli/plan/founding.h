// The figures of the documents that founded the project, each computed anew by the functions of this room: which of them hold,
// by which convention, and where the documents err.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "suanli/base/error.h"

namespace suanli::plan {

enum class Relation : std::uint8_t {
  agrees,    // to all digits that are stated
  rounded,   // to the digits that are stated, rounded or cut
  within,    // inside the interval of our estimate
  errs,      // the documents are wrong; `computed` is right
  unlike,    // is not what it is taken for; `computed` is that
  measured,  // an observation that nothing here can repeat
};
const char* name_of(Relation relation);

struct FoundingFigure {
  std::string key;                 // "llama405b_flops"
  std::string what;                // in words
  double stated = 0;
  std::optional<double> computed;  // by our functions, under the convention
  std::string unit;                // as of Assumption::unit, or "EUR", "day", "1"
  Relation relation = Relation::agrees;
  std::string convention;          // that makes it come out
  std::string why;                 // what is wrong or odd about it; may be empty
};

// From the ideal days to what the run took, one cause after the other.
struct TimeStep {
  std::string what;
  double days = 0;    // with this cause and all before it
  std::string why;
};

struct Founding {
  std::vector<FoundingFigure> figures;
  std::vector<TimeStep> missing_time;

  const FoundingFigure* find(std::string_view key) const;
};

// An error means that a figure can no longer be computed: a bug of the table or of the forms.
Result<Founding> founding();

}  // namespace suanli::plan
