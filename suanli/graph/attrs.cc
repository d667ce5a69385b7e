#include "suanli/graph/attrs.h"

#include <algorithm>

#include "suanli/base/error.h"

namespace suanli::graph {

Attrs::Attrs(std::initializer_list<std::pair<std::string, AttrValue>> entries) {
  for (const auto& [name, value] : entries) set(name, value);
}

void Attrs::set(std::string name, AttrValue value) {
  const auto place = std::lower_bound(
      entries_.begin(), entries_.end(), name,
      [](const auto& entry, const std::string& key) { return entry.first < key; });
  if (place != entries_.end() && place->first == name) {
    place->second = std::move(value);
  } else {
    entries_.emplace(place, std::move(name), std::move(value));
  }
}

const AttrValue* Attrs::find(std::string_view name) const {
  for (const auto& entry : entries_)
    if (entry.first == name) return &entry.second;
  return nullptr;
}

const std::int64_t* Attrs::find_integer(std::string_view name) const {
  return std::get_if<std::int64_t>(find(name));
}
const double* Attrs::find_real(std::string_view name) const {
  return std::get_if<double>(find(name));
}
const std::vector<std::int64_t>* Attrs::find_list(std::string_view name) const {
  return std::get_if<std::vector<std::int64_t>>(find(name));
}
const std::string* Attrs::find_word(std::string_view name) const {
  return std::get_if<std::string>(find(name));
}

std::int64_t Attrs::integer(std::string_view name, std::int64_t otherwise) const {
  const std::int64_t* value = find_integer(name);
  return value ? *value : otherwise;
}
double Attrs::real(std::string_view name, double otherwise) const {
  const double* value = find_real(name);
  return value ? *value : otherwise;
}
std::int64_t Attrs::integer(std::string_view name) const {
  const std::int64_t* value = find_integer(name);
  SUANLI_CHECK(value != nullptr);
  return *value;
}
double Attrs::real(std::string_view name) const {
  const double* value = find_real(name);
  SUANLI_CHECK(value != nullptr);
  return *value;
}
const std::vector<std::int64_t>& Attrs::list(std::string_view name) const {
  const std::vector<std::int64_t>* value = find_list(name);
  SUANLI_CHECK(value != nullptr);
  return *value;
}
const std::string& Attrs::word(std::string_view name) const {
  const std::string* value = find_word(name);
  SUANLI_CHECK(value != nullptr);
  return *value;
}

}  // namespace suanli::graph
