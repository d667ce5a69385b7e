// Writer and reader of the fields that message_fields.h lists. Both hold a value against the same limits, so what one writes the
// other takes. Internal to messages.cc.
#pragma once

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "suanli/base/error_name.h"
#include "suanli/base/text.h"
#include "suanli/protocol/message_fields.h"

namespace suanli::protocol {

using Json = nlohmann::json;

// What the protocol does not allow; thrown through the walk, never out of messages.cc.
struct Refusal {
  std::string path;  // of the field: "peers[3].id"
  std::string what;
};

inline void check(std::int64_t value, Whole limits) {
  if (value < limits.low || value > limits.high)
    throw Refusal{{}, "is " + std::to_string(value) + ", allowed are " + std::to_string(limits.low) + " to " +
                          std::to_string(limits.high)};
}
inline void check(double value, Real limits) {
  // A value that is no number fails the comparison, too.
  if (!(value >= limits.low && value <= limits.high)) throw Refusal{{}, format("is %g, which is out of its limits", value)};
}
inline void check_size(std::size_t size, std::size_t least, std::size_t most) {
  if (size < least || size > most)
    throw Refusal{{}, "has the length " + std::to_string(size) + ", allowed are " + std::to_string(least) + " to " +
                          std::to_string(most)};
}

// Runs `step`, and puts `key` before the path of what it refuses.
template <typename F>
void at(const std::string& key, F step) {
  try {
    step();
  } catch (Refusal& refusal) {
    const bool joined = refusal.path.empty() || refusal.path.front() == '[';
    refusal.path = key + (joined ? "" : ".") + refusal.path;
    throw;
  }
}

class Writer {
 public:
  static constexpr bool kWrites = true;

  template <typename T, typename L>
  void operator()(const char* key, const T& value, const L& limits) {
    at(key, [&] { object_[key] = written(value, limits); });
  }
  template <typename T, typename L>
  void operator()(const char* key, const std::optional<T>& value, const L& limits) {
    if (value) (*this)(key, *value, limits);
  }
  void require(bool holds, const char* key, const char* otherwise) {
    if (!holds) throw Refusal{key, otherwise};
  }
  void ignore_the_rest() {}
  Json take() { return std::move(object_); }

 private:
  template <typename T>
  static Json written(const T& value, Whole limits) {
    if constexpr (std::is_class_v<T>) {
      return written(value.value(), limits);
    } else {
      check(static_cast<std::int64_t>(value), limits);  // an unsigned value beyond the range becomes negative
      return value;
    }
  }
  template <typename T>
  static Json written(const T& value, Real limits) {
    if constexpr (std::is_class_v<T>) {
      return written(value.value(), limits);
    } else {
      check(value, limits);
      return value;
    }
  }
  static Json written(const std::string& value, Text limits) {
    check_size(value.size(), limits.least, limits.most);
    Json json = value;
    try {
      (void)json.dump();
    } catch (const Json::exception&) {
      throw Refusal{{}, "is not UTF-8"};
    }
    return json;
  }
  static Json written(const Digest& value, Hex) { return value.hex(); }
  static Json written(ErrorCode value, ErrorName) { return name_of(value); }
  template <typename E, std::size_t N>
  static Json written(E value, const Choice<E, N>& choice) {
    for (const auto& [each, name] : choice.names)
      if (each == value) return name;
    throw Refusal{{}, "has no name"};
  }
  template <typename T>
  static Json written(const T& value, Struct) {
    Writer inner;
    fields(inner, value);
    return inner.take();
  }
  template <typename T, typename L>
  static Json written(const std::vector<T>& values, const List<L>& limits) {
    check_size(values.size(), 0, limits.most);
    Json list = Json::array();
    for (std::size_t i = 0; i < values.size(); ++i)
      at("[" + std::to_string(i) + "]", [&] { list.push_back(written(values[i], limits.each)); });
    return list;
  }
  template <typename T, typename L>
  static Json written(const std::map<std::string, T>& values, const Table<L>& limits) {
    check_size(values.size(), 0, limits.most);
    Json table = Json::object();
    for (const auto& [key, value] : values) {
      written(key, limits.key);
      at(printable(key), [&] { table[key] = written(value, limits.each); });
    }
    return table;
  }

  Json object_ = Json::object();
};

class Reader {
 public:
  static constexpr bool kWrites = false;
  explicit Reader(const Json& object) : object_(object) {
    if (!object.is_object()) throw Refusal{{}, "is no object"};
  }

  template <typename T, typename L>
  void operator()(const char* key, T& value, const L& limits) {
    taken_.push_back(key);
    const auto found = object_.find(key);
    if (found == object_.end()) throw Refusal{key, "is missing"};
    at(key, [&] { read(*found, value, limits); });
  }
  template <typename T, typename L>
  void operator()(const char* key, std::optional<T>& value, const L& limits) {
    if (object_.contains(key)) {
      (*this)(key, value.emplace(), limits);
    } else {
      taken_.push_back(key);
    }
  }
  void require(bool holds, const char* key, const char* otherwise) {
    if (!holds) throw Refusal{key, otherwise};
  }
  void ignore_the_rest() { ignores_ = true; }
  // After all fields.
  void finish(std::string_view also = {}) const {
    if (ignores_) return;
    for (const auto& [key, value] : object_.items())
      if (key != also && std::find(taken_.begin(), taken_.end(), key) == taken_.end())
        throw Refusal{printable(key), "is not known"};
  }

 private:
  template <typename T>
  static void read(const Json& json, T& value, Whole limits) {
    if constexpr (std::is_class_v<T>) {
      typename T::number_type number{};
      read(json, number, limits);
      value = T(number);
    } else {
      if (!json.is_number_integer()) throw Refusal{{}, "is no whole number"};
      if (json.is_number_unsigned() && json.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX))
        throw Refusal{{}, "is too large"};
      check(json.get<std::int64_t>(), limits);
      value = static_cast<T>(json.get<std::int64_t>());
    }
  }
  template <typename T>
  static void read(const Json& json, T& value, Real limits) {
    if (!json.is_number()) throw Refusal{{}, "is no number"};
    check(json.get<double>(), limits);
    value = T(json.get<double>());
  }
  static const std::string& text(const Json& json) {
    if (!json.is_string()) throw Refusal{{}, "is no text"};
    return json.get_ref<const std::string&>();
  }
  static void read(const Json& json, std::string& value, Text limits) {
    check_size(text(json).size(), limits.least, limits.most);
    value = text(json);
  }
  static void read(const Json& json, Digest& value, Hex) {
    const Result<Digest> digest = Digest::from_hex(text(json));
    if (!digest) throw Refusal{{}, "is no digest"};
    value = *digest;
  }
  static void read(const Json& json, ErrorCode& value, ErrorName) {
    if (const auto code = error_code_named(text(json))) return void(value = *code);
    throw Refusal{{}, "is '" + printable(text(json)) + "', which is no error code"};
  }
  template <typename E, std::size_t N>
  static void read(const Json& json, E& value, const Choice<E, N>& choice) {
    for (const auto& [each, name] : choice.names)
      if (text(json) == name) return void(value = each);
    throw Refusal{{}, "is '" + printable(text(json)) + "', which is not known"};
  }
  template <typename T>
  static void read(const Json& json, T& value, Struct) {
    Reader inner(json);
    fields(inner, value);
    inner.finish();
  }
  template <typename T, typename L>
  static void read(const Json& json, std::vector<T>& values, const List<L>& limits) {
    if (!json.is_array()) throw Refusal{{}, "is no list"};
    check_size(json.size(), 0, limits.most);
    values.resize(json.size());
    for (std::size_t i = 0; i < json.size(); ++i)
      at("[" + std::to_string(i) + "]", [&] { read(json[i], values[i], limits.each); });
  }
  template <typename T, typename L>
  static void read(const Json& json, std::map<std::string, T>& values, const Table<L>& limits) {
    if (!json.is_object()) throw Refusal{{}, "is no object"};
    check_size(json.size(), 0, limits.most);
    for (const auto& [key, value] : json.items()) {
      check_size(key.size(), limits.key.least, limits.key.most);
      at(printable(key), [&, &name = key, &item = value] { read(item, values[name], limits.each); });
    }
  }

  const Json& object_;
  std::vector<std::string_view> taken_;
  bool ignores_ = false;
};

}  // namespace suanli::protocol
