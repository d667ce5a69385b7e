// One line of a graph's text, read token by token. The first error sticks: later calls return empty
// values and do nothing, so that a rule of the grammar reads as a list of tokens and is checked
// once at its end.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "suanli/base/error.h"
#include "suanli/graph/attrs.h"
#include "suanli/graph/graph.h"
#include "suanli/graph/types.h"

namespace suanli::graph {

class TextLine {
 public:
  // Keeps references to `text` and `place`.
  TextLine(std::string_view text, std::string_view place, std::int64_t number)
      : rest_(text), place_(place), number_(number) {}

  const Status& status() const { return status_; }
  // The status, after checking that nothing is left.
  Status end();

  bool at_end();
  char next();  // the next character, 0 at the end
  bool accept(std::string_view token);
  void expect(std::string_view token);
  std::string_view name(std::string_view what);  // letters, digits and _ . - /
  std::int64_t integer(std::string_view what);
  NodeId reference();  // %7
  AttrValue value();   // 1, 1.0, [1, 2], "word"
  TensorType type();   // f32[4x8]

  // An error of this line, and the same made sticky.
  tl::unexpected<Error> error(std::string message) const;
  void set_error(std::string message);
  // `inner` with this line put before its place.
  Status located(Status inner) const;

 private:
  void skip_spaces();
  void expected(std::string_view what);
  std::string_view take_number();
  std::vector<std::int64_t> list();
  std::string quoted();
  AttrValue number();

  std::string_view rest_;
  std::string_view place_;
  std::int64_t number_;
  Status status_;
};

}  // namespace suanli::graph
