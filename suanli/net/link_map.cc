#include "suanli/net/link_map.h"

#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "suanli/base/file.h"
#include "suanli/base/text.h"

namespace suanli::net {
namespace {

constexpr Bytes kMostFileBytes{std::int64_t{1} << 20};
constexpr Seconds kLongest{1e9};
constexpr double kMostBitsPerSecond = 1e15;

// "100 Mbit/s" as bytes per second.
Result<BytesPerSecond> parse_rate(std::string_view text) {
  struct Unit {
    std::string_view name;
    double bits;
  };
  static constexpr Unit kUnits[] = {{"bit/s", 1}, {"kbit/s", 1e3}, {"Mbit/s", 1e6}, {"Gbit/s", 1e9}, {"Tbit/s", 1e12}};
  const std::size_t end = std::min(text.find_first_not_of("0123456789."), text.size());
  std::string_view unit = text.substr(end);
  while (unit.starts_with(' ')) unit.remove_prefix(1);
  const auto number = parse_scaled(text.substr(0, end), "rate");
  for (const Unit& each : kUnits) {
    if (!number || unit != each.name) continue;
    const double bits = *number * each.bits;
    if (bits >= 1 && bits <= kMostBitsPerSecond) return BytesPerSecond(bits / 8);
  }
  return fail(ErrorCode::usage, "'" + printable(text) + "' is no rate of a line", "rate", "write for example '100 Mbit/s'");
}

}  // namespace

// Reads one file; its first error ends it.
class LinkMapReader {
 public:
  LinkMapReader(const toml::table& file, std::string place) : file_(file), place_(std::move(place)) {}

  Result<LinkMap> read() {
    SUANLI_RETURN_IF_ERROR(each("place", [this](const toml::table& table) { return read_place(table); }));
    if (map_.places_.empty())
      return fail(ErrorCode::config, "the file names no place", place_, "write [[place]], and its name below it");
    SUANLI_RETURN_IF_ERROR(each("link", [this](const toml::table& table) { return read_link(table); }));
    SUANLI_RETURN_IF_ERROR(each("outage", [this](const toml::table& table) { return read_outage(table); }));
    if (const toml::node* node = file_.get("coordinator")) {
      SUANLI_ASSIGN_OR_RETURN(map_.coordinator_, place_named(*node));
    }
    SUANLI_RETURN_IF_ERROR(check_keys(file_, {"coordinator", "place", "link", "outage"}));
    return std::move(map_);
  }

 private:
  using Keys = std::vector<std::string>;

  std::string line_of(const toml::source_region& source) const { return place_ + ":" + std::to_string(source.begin.line); }

  tl::unexpected<Error> wrong(const toml::node& node, const std::string& what,
                              const std::string& next_step = "correct it") const {
    return fail(ErrorCode::config, what, line_of(node.source()), next_step);
  }

  tl::unexpected<Error> unknown(const std::string& key, const toml::source_region& source, const Keys& known) const {
    std::string list;
    for (const std::string& name : known) list += (list.empty() ? "" : ", ") + name;
    return fail(ErrorCode::config, "there is no '" + printable(key) + "'" + did_you_mean(key, known), line_of(source),
                "known are " + list);
  }

  template <typename Read>
  Status each(std::string_view section, Read read) {
    const toml::node* node = file_.get(section);
    if (!node) return {};
    const toml::array* entries = node->as_array();
    if (!entries)
      return wrong(*node, "'" + std::string(section) + "' is not a list of tables", "write [[" + std::string(section) + "]]");
    for (const toml::node& entry : *entries) {
      if (!entry.is_table()) return wrong(entry, "'" + std::string(section) + "' holds what is no table");
      if (++entries_ > LinkMap::kMostEntries) return wrong(entry, "the file has more than 10,000 entries", "leave some out");
      SUANLI_RETURN_IF_ERROR(read(*entry.as_table()));
    }
    return {};
  }

  Status check_keys(const toml::table& table, const Keys& known) const {
    for (const auto& [key, node] : table)
      if (std::ranges::find(known, key.str()) == known.end()) return unknown(std::string(key.str()), key.source(), known);
    return {};
  }

  Result<std::optional<std::string>> text(const toml::table& table, std::string_view key) const {
    const toml::node* node = table.get(key);
    if (!node) return std::nullopt;
    const auto* value = node->as_string();
    if (!value || value->get().empty()) return wrong(*node, "'" + std::string(key) + "' is no text");
    return value->get();
  }

  Result<Seconds> duration(const toml::table& table, std::string_view key, std::optional<Seconds> otherwise) const {
    SUANLI_ASSIGN_OR_RETURN(const auto value, text(table, key));
    if (!value && otherwise) return *otherwise;
    if (!value)
      return wrong(table, "'" + std::string(key) + "' is missing", "write for example " + std::string(key) + " = \"50ms\"");
    const auto seconds = parse_duration(*value, key);
    if (!seconds) return wrong(*table.get(key), seconds.error().message, seconds.error().next_step);
    if (*seconds > kLongest) return wrong(*table.get(key), "'" + printable(*value) + "' is longer than a file may say");
    return *seconds;
  }

  Result<std::size_t> place_named(const toml::node& node) const {
    const auto* name = node.as_string();
    if (!name) return wrong(node, "a place is named by a text");
    const auto found = std::ranges::find(map_.places_, name->get(), &Place::name);
    if (found != map_.places_.end()) return static_cast<std::size_t>(found - map_.places_.begin());
    Keys known;
    for (const Place& each : map_.places_) known.push_back(each.name);
    return wrong(node, "there is no place '" + printable(name->get()) + "'" + did_you_mean(name->get(), known),
                 "name a [[place]] of this file");
  }

  // between = [a, b], or from and to, or nothing.
  Result<LinkMap::Entry> ends(const toml::table& table) const {
    LinkMap::Entry entry;
    const toml::node* between = table.get("between");
    const toml::node* from = table.get("from");
    const toml::node* to = table.get("to");
    if ((from == nullptr) != (to == nullptr) || (between && from))
      return wrong(table, "a direction has 'from' and 'to', both ways have 'between'", "name the ends one way or the other");
    if (from) {
      SUANLI_ASSIGN_OR_RETURN(entry.from, place_named(*from));
      SUANLI_ASSIGN_OR_RETURN(entry.to, place_named(*to));
      entry.both_ways = false;
    }
    if (between) {
      const toml::array* pair = between->as_array();
      if (!pair || pair->size() != 2) return wrong(*between, "'between' names two places", "write for example [\"a\", \"b\"]");
      SUANLI_ASSIGN_OR_RETURN(entry.from, place_named(*pair->get(0)));
      SUANLI_ASSIGN_OR_RETURN(entry.to, place_named(*pair->get(1)));
    }
    return entry;
  }

  Status read_place(const toml::table& table) {
    SUANLI_RETURN_IF_ERROR(check_keys(table, {"name", "workers"}));
    Place place;
    SUANLI_ASSIGN_OR_RETURN(const auto name, text(table, "name"));
    if (!name) return wrong(table, "'name' is missing", "name the place");
    place.name = *name;
    if (std::ranges::find(map_.places_, *name, &Place::name) != map_.places_.end())
      return wrong(table, "the place '" + printable(*name) + "' stands there twice", "give each its own name");
    if (map_.places_.size() == LinkMap::kMostPlaces) return wrong(table, "the file has more than 1,000 places", "leave some out");
    if (const toml::node* node = table.get("workers")) {
      const auto* workers = node->as_integer();
      if (!workers || workers->get() < 1 || workers->get() > 1'000'000) return wrong(*node, "'workers' is a count, 1 or more");
      place.workers = workers->get();
    }
    map_.places_.push_back(std::move(place));
    return {};
  }

  Status read_link(const toml::table& table) {
    SUANLI_RETURN_IF_ERROR(check_keys(table, {"between", "from", "to", "delay", "rate", "jitter", "queue"}));
    SUANLI_ASSIGN_OR_RETURN(LinkMap::Entry entry, ends(table));
    SUANLI_ASSIGN_OR_RETURN(entry.line.delay, duration(table, "delay", std::nullopt));
    SUANLI_ASSIGN_OR_RETURN(entry.line.jitter, duration(table, "jitter", Seconds(0)));
    SUANLI_ASSIGN_OR_RETURN(entry.line.queue, duration(table, "queue", entry.line.queue));
    if (entry.line.queue <= Seconds(0))
      return wrong(*table.get("queue"), "a line without a queue carries nothing", "leave it out");
    SUANLI_ASSIGN_OR_RETURN(const auto rate, text(table, "rate"));
    if (!rate) return wrong(table, "'rate' is missing", "write for example rate = \"100 Mbit/s\"");
    const auto parsed = parse_rate(*rate);
    if (!parsed) return wrong(*table.get("rate"), parsed.error().message, parsed.error().next_step);
    entry.line.rate = *parsed;
    for (const LinkMap::Entry& other : map_.links_)
      if (other.names(entry.from, entry.to) || entry.names(other.from, other.to))
        return wrong(table, "these places have a link already", "keep one of the two");
    map_.links_.push_back(std::move(entry));
    return {};
  }

  Status read_outage(const toml::table& table) {
    SUANLI_RETURN_IF_ERROR(check_keys(table, {"between", "from", "to", "at", "lasts", "every", "cut"}));
    SUANLI_ASSIGN_OR_RETURN(LinkMap::Entry entry, ends(table));
    Outage outage;
    SUANLI_ASSIGN_OR_RETURN(outage.at, duration(table, "at", std::nullopt));
    SUANLI_ASSIGN_OR_RETURN(outage.lasts, duration(table, "lasts", std::nullopt));
    SUANLI_ASSIGN_OR_RETURN(outage.every, duration(table, "every", Seconds(0)));
    if (outage.every > Seconds(0) && outage.every <= outage.lasts)
      return wrong(*table.get("every"), "the outage would begin again before it ends", "make 'every' longer than 'lasts'");
    if (const toml::node* cut = table.get("cut")) {
      if (!cut->is_boolean()) return wrong(*cut, "'cut' is true or false");
      outage.cut = cut->as_boolean()->get();
    }
    map_.outages_.emplace_back(std::move(entry), outage);
    return {};
  }

  const toml::table& file_;
  std::string place_;
  LinkMap map_;
  std::size_t entries_ = 0;
};

Result<LinkMap> LinkMap::parse(std::string_view toml, const std::string& place) {
  if (toml.size() > static_cast<std::size_t>(kMostFileBytes.value()))
    return fail(ErrorCode::config, "the file has more than 1 MiB", place, "name another file");
  toml::table file;
  try {
    file = toml::parse(toml);
  } catch (const toml::parse_error& error) {
    return fail(ErrorCode::config, "the file is not TOML: " + printable(error.description()),
                place + ":" + std::to_string(error.source().begin.line), "correct that line");
  }
  return LinkMapReader(file, place).read();
}

Result<LinkMap> LinkMap::load(const std::string& path) {
  SUANLI_ASSIGN_OR_RETURN(const std::string toml, read_file(path, kMostFileBytes));
  return parse(toml, path);
}

std::optional<std::size_t> LinkMap::find(std::string_view name) const {
  const auto found = std::ranges::find(places_, name, &Place::name);
  if (found == places_.end()) return std::nullopt;
  return static_cast<std::size_t>(found - places_.begin());
}

std::size_t LinkMap::place_of_worker(std::size_t index) const {
  std::size_t all = 0;
  for (const Place& each : places_) all += static_cast<std::size_t>(each.workers);
  index %= all;
  std::size_t place = 0;
  for (; index >= static_cast<std::size_t>(places_[place].workers); ++place)
    index -= static_cast<std::size_t>(places_[place].workers);
  return place;
}

LineOptions LinkMap::line(std::size_t from, std::size_t to) const {
  SUANLI_CHECK(from < places_.size() && to < places_.size());
  LineOptions line;
  auto entry = std::ranges::find_if(links_, [&](const Entry& each) { return each.names(from, to); });
  if (entry == links_.end()) entry = std::ranges::find_if(links_, [](const Entry& each) { return each.from == kAny; });
  if (entry != links_.end()) line = entry->line;
  for (const auto& [where, outage] : outages_)
    if (where.from == kAny || where.names(from, to)) line.outages.push_back(outage);
  line.seed = from * kMostPlaces + to;
  return line;
}

}  // namespace suanli::net
