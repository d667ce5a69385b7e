#include "suanli/net/authority_state.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "suanli/base/text.h"

namespace suanli::net {
namespace {

using Json = nlohmann::json;

constexpr int kVersion = 1;
constexpr std::string_view kFormat = "suanli-authority";

// The reader's only way out; caught in parse().
struct Damage {
  std::string what;
};

const Json& field(const Json& object, const char* key) {
  if (!object.is_object() || !object.contains(key)) throw Damage{"'" + std::string(key) + "' is missing"};
  return object[key];
}

std::string text(const Json& object, const char* key) {
  const Json& value = field(object, key);
  if (!value.is_string()) throw Damage{"'" + std::string(key) + "' is no text"};
  return value.get<std::string>();
}

std::int64_t integer(const Json& object, const char* key) {
  const Json& value = field(object, key);
  if (!value.is_number_integer() || value < 0 || value > std::int64_t{1} << 53)
    throw Damage{"'" + std::string(key) + "' is no whole number"};
  return value.get<std::int64_t>();
}

bool truth(const Json& object, const char* key) {
  const Json& value = field(object, key);
  if (!value.is_boolean()) throw Damage{"'" + std::string(key) + "' is neither true nor false"};
  return value.get<bool>();
}

const Json& list(const Json& object, const char* key) {
  const Json& value = field(object, key);
  if (!value.is_array()) throw Damage{"'" + std::string(key) + "' is no list"};
  return value;
}

template <typename T>
T valid(Result<T> value) {
  if (!value) throw Damage{value.error().message};
  return *std::move(value);
}

std::string hex(const Json& object, const char* key) {
  std::string digits = text(object, key);
  const bool good = !digits.empty() && digits.size() <= 64 &&
                    std::ranges::all_of(digits, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
  if (!good) throw Damage{"'" + std::string(key) + "' is no hexadecimal number"};
  return digits;
}

AuthorityState state_of(const Json& json) {
  AuthorityState state;
  state.list_number = integer(json, "revocation_list");
  for (const Json& each : list(json, "tokens"))
    state.tokens.push_back({hex(each, "id"), valid(Digest::from_hex(text(each, "secret_sha256"))),
                            WallTime(integer(each, "expires")), integer(each, "uses_left"), truth(each, "revoked")});
  for (const Json& each : list(json, "certificates"))
    state.certificates.push_back({hex(each, "serial"), valid(PeerId::from_hex(text(each, "peer"))),
                                  valid(role_of(text(each, "role"), {})), WallTime(integer(each, "not_after")),
                                  truth(each, "revoked")});
  for (const Json& each : list(json, "revoked_peers")) {
    if (!each.is_string()) throw Damage{"'revoked_peers' holds what is no text"};
    state.revoked_peers.push_back(valid(PeerId::from_hex(each.get<std::string>())));
  }
  return state;
}

}  // namespace

std::string AuthorityState::to_json() const {
  Json json = {{"format", kFormat}, {"version", kVersion}, {"revocation_list", list_number}};
  json["tokens"] = Json::array();
  for (const IssuedToken& each : tokens)
    json["tokens"].push_back({{"id", each.id},
                              {"secret_sha256", each.secret.hex()},
                              {"expires", each.expires.value()},
                              {"uses_left", each.uses_left},
                              {"revoked", each.revoked}});
  json["certificates"] = Json::array();
  for (const IssuedCertificate& each : certificates)
    json["certificates"].push_back({{"serial", each.serial},
                                    {"peer", each.peer.hex()},
                                    {"role", name_of(each.role)},
                                    {"not_after", each.not_after.value()},
                                    {"revoked", each.revoked}});
  json["revoked_peers"] = Json::array();
  for (const PeerId& each : revoked_peers) json["revoked_peers"].push_back(each.hex());
  return json.dump(1) + "\n";
}

Result<AuthorityState> AuthorityState::parse(std::string_view content, const std::string& place) {
  const std::string next_step = "restore the folder of the authority from a backup";
  const Json json = Json::parse(content, nullptr, false);
  if (!json.is_object() || json.value("format", Json()) != kFormat)
    return fail(ErrorCode::corrupt, "this is not the state of a pool's authority", place, next_step);
  if (json.value("version", Json()) != kVersion)
    return fail(ErrorCode::version, "the state is of another version than " + std::to_string(kVersion), place,
                "use the version of suanli that wrote it");
  try {
    return state_of(json);
  } catch (const Damage& damage) {
    return fail(ErrorCode::corrupt, "the state is damaged: " + printable(damage.what), place, next_step);
  }
}

}  // namespace suanli::net
