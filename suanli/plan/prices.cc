#include "suanli/plan/prices.h"

#include <algorithm>

#include "suanli/base/text.h"
#include "suanli/plan/data_files.h"
#include "suanli/plan/toml_entry.h"

namespace suanli::plan {
namespace {

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return lower;
}

Result<PricePreset> find_in(const std::vector<PricePreset>& presets, std::string_view name, const char* what) {
  const std::string wanted = lower_case(name);
  std::vector<std::string> known;
  std::string list;
  for (const PricePreset& each : presets) {
    known.push_back(lower_case(each.name));
    list += (list.empty() ? "" : ", ") + each.name;
    if (known.back() == wanted) return each;
    for (const std::string& alias : each.aliases)
      if (lower_case(alias) == wanted) return each;
  }
  return fail(ErrorCode::usage, std::string("there is no ") + what + " '" + printable(name) + "'" + did_you_mean(wanted, known),
              "", "known are " + list + "; or state the price itself");
}

Result<PricePreset> read_preset(TomlEntry& entry, std::string unit) {
  PricePreset preset;
  preset.unit = std::move(unit);
  constexpr NumberRange kPrice{.least = 0, .most = 1e6, .open_least = true};
  SUANLI_ASSIGN_OR_RETURN(preset.name, entry.text("name"));
  SUANLI_ASSIGN_OR_RETURN(preset.aliases, entry.optional_texts("aliases"));
  SUANLI_ASSIGN_OR_RETURN(preset.text, entry.text("text"));
  SUANLI_ASSIGN_OR_RETURN(preset.value.low, entry.number("low", kPrice));
  SUANLI_ASSIGN_OR_RETURN(preset.value.expected, entry.number("expected", kPrice));
  SUANLI_ASSIGN_OR_RETURN(preset.value.high, entry.number("high", kPrice));
  SUANLI_ASSIGN_OR_RETURN(const std::int64_t year, entry.integer("year", 1900, 2100));
  SUANLI_ASSIGN_OR_RETURN(preset.source, entry.text("source"));
  SUANLI_RETURN_IF_ERROR(entry.finish());
  preset.year = static_cast<int>(year);
  preset.source = std::to_string(year) + ", " + preset.source;
  if (preset.value.low > preset.value.expected || preset.value.expected > preset.value.high)
    return entry.wrong("expected", format("is %g, which is not between low and high", preset.value.expected));
  return preset;
}

}  // namespace

Result<PriceTable> PriceTable::parse(std::string_view text, const std::string& place) {
  PriceTable table;
  SUANLI_RETURN_IF_ERROR(read_toml_entries(
      text, place, {"electricity", "renting", "overhead"}, [&](const std::string& section, TomlEntry& entry) -> Status {
        const bool is_electricity = section == "electricity", is_renting = section == "renting";
        auto& presets = is_electricity ? table.electricity_ : is_renting ? table.renting_ : table.overhead_;
        SUANLI_ASSIGN_OR_RETURN(PricePreset preset, read_preset(entry, is_electricity ? "USD/kWh" : is_renting ? "USD/h" : "1"));
        if (section == "overhead" && preset.value.low < 1)
          return entry.wrong("low", format("is %g: a building cannot use less than what is in it", preset.value.low));
        if (std::ranges::find(presets, preset.name, &PricePreset::name) != presets.end())
          return entry.wrong("name", "'" + printable(preset.name) + "' stands there twice");
        presets.push_back(std::move(preset));
        return {};
      }));
  return table;
}

Result<PricePreset> PriceTable::electricity(std::string_view name) const {
  return find_in(electricity_, name, "electricity price");
}
Result<PricePreset> PriceTable::renting(std::string_view device) const {
  return find_in(renting_, device, "renting price of a");
}
Result<PricePreset> PriceTable::overhead(std::string_view name) const { return find_in(overhead_, name, "overhead"); }

const PriceTable& prices() {
  static const PriceTable table = [] {
    auto parsed = PriceTable::parse(data_file("prices.toml"), "prices.toml");
    SUANLI_CHECK(parsed.has_value());
    return *std::move(parsed);
  }();
  return table;
}

}  // namespace suanli::plan
