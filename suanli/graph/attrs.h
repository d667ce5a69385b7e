// Attributes of a node: a small map from name to a number, a real, a list of integers or a word, sorted by name.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace suanli::graph {

using AttrValue =
    std::variant<std::int64_t, double, std::vector<std::int64_t>, std::string>;

class Attrs {
 public:
  Attrs() = default;
  Attrs(std::initializer_list<std::pair<std::string, AttrValue>> entries);

  void set(std::string name, AttrValue value);
  // Null if absent or of another kind.
  const std::int64_t* find_integer(std::string_view name) const;
  const double* find_real(std::string_view name) const;
  const std::vector<std::int64_t>* find_list(std::string_view name) const;
  const std::string* find_word(std::string_view name) const;

  // The value, or `otherwise` if absent.
  std::int64_t integer(std::string_view name, std::int64_t otherwise) const;
  double real(std::string_view name, double otherwise) const;
  // The value, which must be there: the op's attribute table has been checked when the node was added.
  std::int64_t integer(std::string_view name) const;
  double real(std::string_view name) const;
  const std::vector<std::int64_t>& list(std::string_view name) const;
  const std::string& word(std::string_view name) const;

  const std::vector<std::pair<std::string, AttrValue>>& entries() const { return entries_; }
  bool operator==(const Attrs&) const = default;

 private:
  const AttrValue* find(std::string_view name) const;
  std::vector<std::pair<std::string, AttrValue>> entries_;
};

}  // namespace suanli::graph
