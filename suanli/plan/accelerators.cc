#include "suanli/plan/accelerators.h"

#include <toml++/toml.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <functional>
#include <set>

#include "suanli/base/text.h"
#include "suanli/plan/data_files.h"

namespace suanli::plan {
namespace {

constexpr const char* kForm = "data/accelerators.toml of the library explains each key and is an example";
constexpr double kLargestFigure = 1e9;  // in the units of the file; more is a slip of units
constexpr std::size_t kLongestText = 400;

std::string line_of(const std::string& place, const toml::source_region& source) {
  return place + ":" + std::to_string(source.begin.line);
}

tl::unexpected<Error> wrong(std::string message, const std::string& place, const toml::node& node) {
  return fail(ErrorCode::config, std::move(message), line_of(place, node.source()), kForm);
}

// What a name is known by: case, spaces and marks do not matter.
std::string folded(std::string_view name) {
  std::string letters;
  for (const char c : name)
    if (std::isalnum(static_cast<unsigned char>(c))) letters += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return letters;
}

Result<double> number_of(const toml::node& node, std::string_view key, const std::string& place) {
  double value = NAN;
  if (const auto* integer = node.as_integer()) value = static_cast<double>(integer->get());
  if (const auto* real = node.as_floating_point()) value = real->get();
  if (!(value > 0 && value <= kLargestFigure))
    return wrong("'" + std::string(key) + "' should be a number above 0 and up to 1e9", place, node);
  return value;
}

Result<std::string> text_of(const toml::node& node, std::string_view key, const std::string& place) {
  const auto* text = node.as_string();
  if (!text || text->get().empty() || text->get().size() > kLongestText)
    return wrong("'" + std::string(key) + "' should be a text of 1 to " + std::to_string(kLongestText) + " characters", place,
                 node);
  return printable(text->get(), kLongestText);
}

// Refuses keys of `table` that are none of `known`.
Status check_keys(const toml::table& table, std::vector<std::string> known, const std::string& place) {
  for (const auto& [key, node] : table)
    if (std::ranges::find(known, key.str()) == known.end())
      return wrong("there is no key '" + printable(key.str()) + "'" + did_you_mean(key.str(), known), place, node);
  return {};
}

struct Figured {
  double value = 0;
  std::string source;
};

Result<Figured> figure_of(const toml::node& node, std::string_view key, const std::string& common_source,
                          const std::string& place) {
  Figured figure{0, common_source};
  if (const toml::table* table = node.as_table()) {
    SUANLI_RETURN_IF_ERROR(check_keys(*table, {"value", "source"}, place));
    const toml::node* value = table->get("value");
    const toml::node* source = table->get("source");
    if (!value || !source) return wrong("'" + std::string(key) + "' needs both a value and a source", place, node);
    SUANLI_ASSIGN_OR_RETURN(figure.value, number_of(*value, key, place));
    SUANLI_ASSIGN_OR_RETURN(figure.source, text_of(*source, "source", place));
    return figure;
  }
  SUANLI_ASSIGN_OR_RETURN(figure.value, number_of(node, key, place));
  if (figure.source.empty()) return wrong("'" + std::string(key) + "' has no source", place, node);
  return figure;
}

struct FigureKey {
  const char* name;
  std::function<void(Accelerator&, double value, const std::string& source)> set;
};

template <typename Unit>
FigureKey figure_key(const char* name, std::optional<Sourced<Unit>> Accelerator::*field, double factor) {
  return {name, [=](Accelerator& device, double value, const std::string& source) {
            using Number = typename Unit::number_type;
            device.*field = Sourced<Unit>{Unit(static_cast<Number>(value * factor)), source};
          }};
}

FigureKey peak_key(const char* name, const char* dtype) {
  return {name, [=](Accelerator& device, double value, const std::string& source) {
            device.dense_peak[dtype] = {FlopsPerSecond(value * 1e12), source};
          }};
}

const std::vector<FigureKey>& figure_keys() {
  static const std::vector<FigureKey> kKeys = {
      peak_key("tf32_dense_tflops", "tf32"),
      peak_key("fp16_dense_tflops", "fp16"),
      peak_key("bf16_dense_tflops", "bf16"),
      peak_key("fp8_dense_tflops", "fp8"),
      figure_key("sparse_bf16_tflops", &Accelerator::sparse_bf16_peak, 1e12),
      figure_key("bf16_matmul_tflops", &Accelerator::measured_matmul, 1e12),
      figure_key("memory_gib", &Accelerator::memory, 0x1p30),
      figure_key("bandwidth_gb_s", &Accelerator::bandwidth, 1e9),
      figure_key("power_w", &Accelerator::power, 1),
      figure_key("node_link_gb_s", &Accelerator::node_link, 1e9),
      figure_key("cluster_link_gb_s", &Accelerator::cluster_link, 1e9),
  };
  return kKeys;
}

Result<Price> price_of(const toml::node& node, const std::string& common_source, const std::string& place) {
  const toml::table* table = node.as_table();
  if (!table) return wrong("'price_usd' should be { low, high, year, kind, source }", place, node);
  SUANLI_RETURN_IF_ERROR(check_keys(*table, {"low", "high", "year", "kind", "source"}, place));
  Price price;
  price.source = common_source;
  const toml::node* low = table->get("low");
  const toml::node* high = table->get("high");
  if (!low || !high) return wrong("'price_usd' needs 'low' and 'high'", place, node);
  SUANLI_ASSIGN_OR_RETURN(const double least, number_of(*low, "low", place));
  SUANLI_ASSIGN_OR_RETURN(const double most, number_of(*high, "high", place));
  if (least > most) return wrong(format("'low' is %g, above 'high', %g", least, most), place, *low);
  price.low = Dollars(least);
  price.high = Dollars(most);
  if (const toml::node* year = table->get("year")) {
    const auto* integer = year->as_integer();
    if (!integer || integer->get() < 1990 || integer->get() > 2200)
      return wrong("'year' should be a year such as 2026", place, *year);
    price.year = static_cast<int>(integer->get());
  }
  if (const toml::node* kind = table->get("kind")) {
    SUANLI_ASSIGN_OR_RETURN(price.kind, text_of(*kind, "kind", place));
  }
  if (const toml::node* source = table->get("source")) {
    SUANLI_ASSIGN_OR_RETURN(price.source, text_of(*source, "source", place));
  }
  if (price.source.empty()) return wrong("'price_usd' has no source", place, node);
  return price;
}

Result<std::vector<std::string>> aliases_of(const toml::node& node, const std::string& place) {
  std::vector<std::string> aliases;
  const toml::array* list = node.as_array();
  if (!list) return wrong("'aliases' should be a list of texts", place, node);
  for (const toml::node& each : *list) {
    SUANLI_ASSIGN_OR_RETURN(std::string alias, text_of(each, "aliases", place));
    if (folded(alias).empty()) return wrong("an alias needs a letter or a digit", place, each);
    aliases.push_back(std::move(alias));
  }
  return aliases;
}

Result<Accelerator> device_of(const toml::table& table, const std::string& place) {
  std::vector<std::string> known = {"name", "aliases", "source", "price_usd", "per_node"};
  for (const FigureKey& key : figure_keys()) known.emplace_back(key.name);
  SUANLI_RETURN_IF_ERROR(check_keys(table, std::move(known), place));
  Accelerator device;
  const toml::node* name = table.get("name");
  if (!name) return wrong("a device needs a 'name'", place, table);
  SUANLI_ASSIGN_OR_RETURN(device.name, text_of(*name, "name", place));
  if (folded(device.name).empty()) return wrong("a name needs a letter or a digit", place, *name);
  std::string source;
  if (const toml::node* node = table.get("source")) {
    SUANLI_ASSIGN_OR_RETURN(source, text_of(*node, "source", place));
  }
  if (const toml::node* node = table.get("aliases")) {
    SUANLI_ASSIGN_OR_RETURN(device.aliases, aliases_of(*node, place));
  }
  for (const FigureKey& key : figure_keys()) {
    const toml::node* node = table.get(key.name);
    if (!node) continue;
    SUANLI_ASSIGN_OR_RETURN(const Figured figure, figure_of(*node, key.name, source, place));
    key.set(device, figure.value, figure.source);
  }
  if (device.dense_peak.empty())
    return wrong("'" + device.name + "' has no peak: give bf16_dense_tflops or that of another dtype", place, table);
  if (const toml::node* node = table.get("price_usd")) {
    SUANLI_ASSIGN_OR_RETURN(device.price, price_of(*node, source, place));
  }
  if (const toml::node* node = table.get("per_node")) {
    const auto* integer = node->as_integer();
    if (!integer || integer->get() < 1 || integer->get() > 100'000)
      return wrong("'per_node' should be a whole number from 1 to 100,000", place, *node);
    device.per_node = static_cast<int>(integer->get());
  }
  return device;
}

std::vector<std::string> names_of(const Accelerator& device) {
  std::vector<std::string> names = {device.name};
  names.insert(names.end(), device.aliases.begin(), device.aliases.end());
  return names;
}

Result<std::vector<Accelerator>> parse(std::string_view text, const std::string& place) {
  std::vector<Accelerator> devices;
  try {
    const toml::table file = toml::parse(text);
    SUANLI_RETURN_IF_ERROR(check_keys(file, {"device"}, place));
    const toml::node* list = file.get("device");
    if (!list) return fail(ErrorCode::config, "there is no [[device]]", place, kForm);
    if (!list->is_array_of_tables()) return wrong("'device' should be written as [[device]] and its keys below", place, *list);
    std::set<std::string> seen;
    for (const toml::node& each : *list->as_array()) {
      SUANLI_ASSIGN_OR_RETURN(Accelerator device, device_of(*each.as_table(), place));
      std::set<std::string> own;  // an alias may repeat the device's own name
      for (const std::string& name : names_of(device))
        if (own.insert(folded(name)).second && !seen.insert(folded(name)).second)
          return wrong("the name '" + name + "' is given twice", place, each);
      devices.push_back(std::move(device));
    }
  } catch (const toml::parse_error& error) {
    return fail(ErrorCode::config, "not valid TOML: " + printable(error.description(), 300), line_of(place, error.source()),
                kForm);
  }
  return devices;
}

}  // namespace

AcceleratorTable AcceleratorTable::built_in() {
  AcceleratorTable table;
  const Status added = table.add(data_file("accelerators.toml"), "accelerators.toml");
  SUANLI_CHECK(added.has_value());
  return table;
}

Status AcceleratorTable::add(std::string_view text, const std::string& place) {
  constexpr std::size_t kLargestFile = 1 << 20;
  if (text.size() > kLargestFile)
    return fail(ErrorCode::config, format("the table has %zu bytes, more than 1 MiB", text.size()), place,
                "is this a table of devices?");
  SUANLI_ASSIGN_OR_RETURN(const std::vector<Accelerator> devices, parse(text, place));
  for (const Accelerator& device : devices) {
    const auto is_same = [&](const Accelerator& other) { return folded(other.name) == folded(device.name); };
    const auto old = std::ranges::find_if(devices_, is_same);
    if (old != devices_.end())
      *old = device;
    else
      devices_.push_back(device);
  }
  return {};
}

Result<Accelerator> AcceleratorTable::find(std::string_view name) const {
  const std::string wanted = folded(name);
  // The last one that was added goes first: a user's "H100" is meant before the alias of a built-in device.
  const auto names_it = [&](const Accelerator& device) { return folded(device.name) == wanted; };
  for (auto each = devices_.rbegin(); each != devices_.rend(); ++each)
    if (names_it(*each)) return *each;
  std::vector<std::string> known;
  for (auto each = devices_.rbegin(); each != devices_.rend(); ++each) {
    for (const std::string& alias : each->aliases) {
      if (folded(alias) == wanted) return *each;
      known.push_back(alias);
    }
    known.push_back(each->name);
  }
  std::string all;
  for (const Accelerator& device : devices_) all += (all.empty() ? "" : ", ") + device.name;
  return fail(ErrorCode::usage, "no device is called '" + printable(name) + "'" + did_you_mean(name, known), "",
              "known are " + all + "; --devices-file adds others");
}

}  // namespace suanli::plan
