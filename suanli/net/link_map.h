// Places and the lines between them, as a file: what `--links FILE` emulates (docs/formats/links.md).
//
//   coordinator = "tokyo"            # the first place unless given
//   [[place]]
//   name = "tokyo"
//   [[link]]
//   between = ["tokyo", "london"]    # both ways; or from = "tokyo", to = "london"
//   delay = "105ms"                  # one way
//   rate = "300 Mbit/s"
//   [[outage]]
//   at = "60s"
//   lasts = "5s"
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/net/emulated_line.h"

namespace suanli::net {

struct Place {
  std::string name;
  std::int64_t workers = 1;  // of those that are dealt out in turn
};

class LinkMap {
 public:
  static constexpr std::size_t kMostPlaces = 1'000, kMostEntries = 10'000;

  // Errors (config) name line, key and value.
  static Result<LinkMap> parse(std::string_view toml, const std::string& place);
  static Result<LinkMap> load(const std::string& path);

  const std::vector<Place>& places() const { return places_; }
  // Index of the place where worker `index` of a run lies: the first place takes its `workers`, then the next, and round again.
  std::size_t place_of_worker(std::size_t index) const;
  // Index of the place where the pool's coordinator lies: the one that the file names, or that of worker 0.
  std::size_t place_of_coordinator() const { return coordinator_; }
  // Index of the place of this name; nothing: there is none.
  std::optional<std::size_t> find(std::string_view name) const;
  // The line from one place to another (indices), or inside one; no delay and no limit if the file says nothing of it. The seed
  // differs for each direction.
  LineOptions line(std::size_t from, std::size_t to) const;

 private:
  // Indices of places; kAny: all that no other entry names.
  static constexpr std::size_t kAny = static_cast<std::size_t>(-1);
  struct Entry {
    std::size_t from = kAny, to = kAny;
    bool both_ways = true;
    LineOptions line;
    bool names(std::size_t a, std::size_t b) const { return (from == a && to == b) || (both_ways && from == b && to == a); }
  };
  friend class LinkMapReader;
  std::vector<Place> places_;
  std::size_t coordinator_ = 0;
  std::vector<Entry> links_;
  std::vector<std::pair<Entry, Outage>> outages_;
};

}  // namespace suanli::net
