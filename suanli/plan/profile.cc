#include "suanli/plan/profile.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "suanli/base/file.h"
#include "suanli/base/text.h"
#include "suanli/engine/cpu/calibration.h"
#include "suanli/model/strict_json.h"
#include "suanli/plan/profile_fields.h"

namespace suanli::plan {
namespace {

constexpr Bytes kLargestFile(std::int64_t{16} << 20);
constexpr int kDepth = 5;
constexpr std::size_t kLongestText = 500;
const char* const kNext = "make a new one with `suanli calibrate`";

std::string shown(const nlohmann::json& value, std::size_t limit) {
  return printable(value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), limit);
}

class Writer {
 public:
  using Json = nlohmann::ordered_json;

  void text(const char* key, const std::string& value) { object_[key] = value; }
  void flag(const char* key, bool value) { object_[key] = value; }
  template <typename Integer>
  void count(const char* key, Integer value) { object_[key] = value; }
  void bytes(const char* key, Bytes value) { object_[key] = value.value(); }
  void number(const char* key, double value, const FieldRange&) { object_[key] = value; }
  void numbers(const char* key, const std::vector<double>& values, const FieldRange&) { object_[key] = values; }
  void bounds(const Interval& value, const FieldRange&) {
    object_ = {{"low", value.low}, {"expected", value.expected}, {"high", value.high}};
  }
  void interval(const char* key, Interval& value, const FieldRange& range) {
    object_[key] = object_of(value, [&](Writer& inner, Interval& each) { interval_fields(inner, each, range); });
  }
  void dtype(const char* key, engine::Arithmetic value) { object_[key] = engine::name_of(value); }
  template <typename Element, typename Fields>
  void each(const char* key, std::vector<Element>& elements, const Fields& fields) {
    Json list = Json::array();
    for (Element& element : elements) list.push_back(object_of(element, fields));
    object_[key] = std::move(list);
  }
  template <typename Element, typename Fields>
  void maybe(const char* key, std::optional<Element>& element, const Fields& fields) {
    object_[key] = element ? object_of(*element, fields) : Json(nullptr);
  }

  Json take() { return std::move(object_); }

 private:
  template <typename Element, typename Fields>
  static Json object_of(Element& element, const Fields& fields) {
    Writer inner;
    fields(inner, element);
    return inner.take();
  }
  Json object_ = Json::object();
};

// Stretches all intervals about what is expected, on a logarithmic scale, as far as a machine can be so.
class Widener {
 public:
  explicit Widener(double factor) : factor_(factor) {}

  void text(const char*, std::string&) {}
  void flag(const char*, bool) {}
  template <typename Integer>
  void count(const char*, Integer&) {}
  void bytes(const char*, Bytes) {}
  void number(const char*, double, const FieldRange&) {}
  void numbers(const char*, std::vector<double>&, const FieldRange&) {}
  void bounds(Interval& value, const FieldRange& range) {
    value.low = std::max(range.least, value.expected * std::pow(value.low / value.expected, factor_));
    value.high = std::min(range.most, value.expected * std::pow(value.high / value.expected, factor_));
  }
  void interval(const char*, Interval& value, const FieldRange& range) { bounds(value, range); }
  void dtype(const char*, engine::Arithmetic) {}
  template <typename Element, typename Fields>
  void each(const char*, std::vector<Element>& elements, const Fields& fields) {
    for (Element& element : elements) fields(*this, element);
  }
  template <typename Element, typename Fields>
  void maybe(const char*, std::optional<Element>& element, const Fields& fields) {
    if (element) fields(*this, *element);
  }

 private:
  const double factor_;
};

// Keeps the first error; after one nothing is read.
class Reader {
 public:
  using Json = nlohmann::json;

  Reader(const Json& object, std::string place, std::optional<Error>& error)
      : object_(object), place_(std::move(place)), error_(error) {
    if (!object.is_object()) refuse("", "is not an object");
  }

  void text(const char* key, std::string& value) {
    const Json* found = find(key);
    if (!found) return;
    if (!found->is_string()) return refuse(key, "is not a text");
    value = found->get<std::string>();
    if (value.empty() || value.size() > kLongestText) refuse(key, "is empty or longer than a profile's texts are");
  }
  void flag(const char* key, bool& value) {
    const Json* found = find(key);
    if (!found) return;
    if (!found->is_boolean()) return refuse(key, "is neither true nor false");
    value = found->get<bool>();
  }
  template <typename Integer>
  void count(const char* key, Integer& value) {
    if (const auto whole = integer(key, 1, std::numeric_limits<Integer>::max())) value = static_cast<Integer>(*whole);
  }
  void bytes(const char* key, Bytes& value) {
    if (const auto whole = integer(key, 0, static_cast<std::int64_t>(kAmounts.most))) value = Bytes(*whole);
  }
  void number(const char* key, double& value, const FieldRange& range) {
    if (const Json* found = find(key)) value = within(key, *found, range);
  }
  void numbers(const char* key, std::vector<double>& values, const FieldRange& range) {
    const Json* found = find(key);
    if (!found) return;
    if (!found->is_array() || found->size() > kMostSizes) return refuse(key, "is not a list of at most 8 numbers");
    for (const Json& each : *found) values.push_back(within(key, each, range));
  }
  void bounds(Interval& value, const FieldRange& range) {
    for (const auto& [key, bound] :
         {std::pair("low", &value.low), std::pair("expected", &value.expected), std::pair("high", &value.high)})
      if (const Json* found = find(key)) *bound = within(key, *found, range);
    if (!error_ && !(value.low <= value.expected && value.expected <= value.high))
      refuse("", "is out of order: low " + format("%g", value.low) + ", expected " + format("%g", value.expected) + ", high " +
                     format("%g", value.high));
  }
  void interval(const char* key, Interval& value, const FieldRange& range) {
    inner(key, value, [&](Reader& reader, Interval& each) { interval_fields(reader, each, range); });
  }
  void dtype(const char* key, engine::Arithmetic& value) {
    std::string name;
    text(key, name);
    if (error_) return;
    const auto found = engine::arithmetic_from_name(name);
    if (!found) return refuse(key, "is '" + printable(name) + "', not f32 or bf16");
    value = *found;
  }
  template <typename Element, typename Fields>
  void each(const char* key, std::vector<Element>& elements, const Fields& fields) {
    const Json* found = find(key);
    if (!found) return;
    if (!found->is_array() || found->size() > kMostEntries) return refuse(key, "is not a list, or far too long a one");
    for (const Json& entry : *found) {
      Reader reader(entry, path_of(key) + "[" + std::to_string(elements.size()) + "]", error_);
      reader.read(elements.emplace_back(), fields);
      if (error_) return;
    }
  }
  template <typename Element, typename Fields>
  void maybe(const char* key, std::optional<Element>& element, const Fields& fields) {
    const Json* found = find(key);
    if (found && !found->is_null()) inner(key, element.emplace(), fields);
  }

  // All fields of one object, and no others.
  template <typename Element, typename Fields>
  void read(Element& element, const Fields& fields) {
    if (error_) return;
    fields(*this, element);
    for (const auto& [key, value] : object_.items()) {
      if (error_) return;
      if (std::ranges::find(known_, key) == known_.end())
        refuse(printable(key), "is no field of a profile" + did_you_mean(key, known_));
    }
  }
  void know(const char* key) { known_.emplace_back(key); }

 private:
  std::string path_of(std::string_view key) const {
    const std::string dot = place_.ends_with(": ") ? "" : ".";
    return key.empty() ? place_ : place_ + dot + std::string(key);
  }
  void refuse(std::string_view key, const std::string& why) {
    if (error_) return;
    std::string at = path_of(key);
    if (at.ends_with(": ")) at.resize(at.size() - 2);
    const std::string what = key.empty() ? "the object " : "'" + std::string(key) + "' ";
    error_ = Error{ErrorCode::corrupt, what + why, at, kNext};
  }
  const Json* find(const char* key) {
    known_.emplace_back(key);
    if (error_) return nullptr;
    const auto found = object_.find(key);
    if (found != object_.end()) return &*found;
    refuse(key, "is missing");
    return nullptr;
  }
  std::optional<std::int64_t> integer(const char* key, std::int64_t least, std::int64_t most) {
    const Json* found = find(key);
    if (!found) return std::nullopt;
    if (!found->is_number_integer() ||
        (found->is_number_unsigned() && found->get<std::uint64_t>() > static_cast<std::uint64_t>(most)) ||
        found->get<std::int64_t>() < least) {
      refuse(key, "is " + shown(*found, 40) +
                      ", not a whole number of " + std::to_string(least) + " to " + std::to_string(most));
      return std::nullopt;
    }
    return found->get<std::int64_t>();
  }
  double within(const char* key, const Json& value, const FieldRange& range) {
    const double number = value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN();
    if (number >= range.least && number <= range.most) return number;
    refuse(key, "is " + shown(value, 40) + ", not a number from " + format("%g", range.least) + " to " +
                    format("%g", range.most));
    return 1;
  }
  template <typename Element, typename Fields>
  void inner(const char* key, Element& element, const Fields& fields) {
    if (const Json* found = find(key)) Reader(*found, path_of(key), error_).read(element, fields);
  }

  const Json& object_;
  const std::string place_;  // "profile.json: kernels[3]", at the root "profile.json: "
  std::optional<Error>& error_;
  std::vector<std::string> known_;
};

// What would make a plan wait, or count something twice.
std::optional<Error> crowd_of(const Profile& profile, const std::string& place) {
  const auto refuse = [&](const std::string& message, const std::string& key) {
    return Error{ErrorCode::corrupt, message, place + ": " + key, kNext};
  };
  std::map<std::pair<std::string_view, engine::Arithmetic>, std::size_t> of_kind;
  for (const KernelRate& rate : profile.kernels)
    if (++of_kind[{rate.kind, rate.arithmetic}] > kMostOfKind)
      return refuse("there are more than " + std::to_string(kMostOfKind) + " kernels of the kind '" + printable(rate.kind) +
                        "' in " + std::string(engine::name_of(rate.arithmetic)),
                    "kernels");
  const auto is_twice = [](const auto& list) {
    for (std::size_t i = 0; i < list.size(); ++i)
      for (std::size_t j = 0; j < i; ++j)
        if (list[i].arithmetic == list[j].arithmetic) return true;  // ends at the third entry: there are two arithmetics
    return false;
  };
  if (is_twice(profile.peaks)) return refuse("two limits are of the same dtype", "peaks");
  if (is_twice(profile.step_overheads)) return refuse("two factors are of the same dtype", "step_overheads");
  return std::nullopt;
}

bool is_profile(const nlohmann::json& object) {
  const auto format = object.is_object() ? object.find("format") : object.end();
  return object.is_object() && format != object.end() && *format == kProfileFormat;
}

}  // namespace

const Profile::Peak* Profile::peak(engine::Arithmetic arithmetic) const {
  const auto found = std::ranges::find(peaks, arithmetic, &Peak::arithmetic);
  return found == peaks.end() ? nullptr : &*found;
}

bool Profile::has_matrix_units() const {
  const Peak* bf16 = peak(engine::Arithmetic::bf16);
  return bf16 != nullptr && bf16->loop == engine::name_of(engine::ProductLoop::bf16_amx);
}

void widen_for_waiting(Profile& profile) {
  const double factor = waiting_factor(profile);
  if (factor <= 1) return;
  Widener widener(factor);
  profile_fields(widener, profile);
  for (Profile::Overhead& each : profile.step_overheads)
    each.factor.low = std::max(each.factor.low, std::min(1.0, each.factor.expected));
}

Result<Profile> parse_profile(std::string_view text, const std::string& place) {
  auto parsed = model::parse_strict_json(text, place, kDepth);
  if (!parsed) {
    parsed.error().next_step = kNext;
    return tl::unexpected(std::move(parsed).error());
  }
  const nlohmann::json& object = *parsed;
  if (!is_profile(object)) return fail(ErrorCode::foreign, "this is no profile of a machine", place, kNext);
  const auto version = object.find("version");
  if (version == object.end() || *version != kProfileVersion)
    return fail(ErrorCode::version,
                "the profile is of version " + (version == object.end() ? "none" : shown(*version, 20)) +
                    ", this build knows version " + std::to_string(kProfileVersion),
                place, kNext);
  Profile profile;
  std::optional<Error> error;
  Reader reader(object, place + ": ", error);
  reader.know("format");
  reader.know("version");
  reader.read(profile, [](Reader& a, Profile& p) { profile_fields(a, p); });
  if (!error && !utc_seconds(profile.time))
    error = Error{ErrorCode::corrupt, "'time' is '" + printable(profile.time) + "', not like 2026-11-22T03:34:00Z",
                  place + ": time", kNext};
  if (!error) error = crowd_of(profile, place);
  if (error) return tl::unexpected(std::move(*error));
  return profile;
}

Result<Profile> load_profile(const std::string& path) {
  auto text = read_file(path, kLargestFile);
  if (!text) {
    if (text.error().next_step.empty()) text.error().next_step = "give a profile that `suanli calibrate --out FILE` wrote";
    return tl::unexpected(std::move(text).error());
  }
  return parse_profile(*text, path);
}

std::string print_profile(const Profile& profile) {
  Writer writer;
  writer.text("format", kProfileFormat);
  writer.count("version", profile.version);
  Profile copy = profile;  // the fields are those of reading too, which changes
  profile_fields(writer, copy);
  return writer.take().dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace suanli::plan
