#include "suanli/net/certificate.h"

#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <array>
#include <ctime>

#include "suanli/base/file.h"
#include "suanli/base/text.h"
#include "suanli/net/openssl.h"

namespace suanli::net {
namespace {

constexpr Bytes kMostPemBytes{65536};
constexpr std::string_view kAuthorityName = "suanli authority";
constexpr std::size_t kMostNameBytes = 64;  // of a name's part, by X.509

WallTime wall_time_of(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return WallTime(0);
  return WallTime(static_cast<std::int64_t>(timegm(&parts)));
}

// The only part of the name of this kind, as UTF-8; empty if there is none or several.
std::string part_of(const X509_NAME* name, int nid) {
  const int at = X509_NAME_get_index_by_NID(name, nid, -1);
  if (at < 0 || X509_NAME_get_index_by_NID(name, nid, at) >= 0) return {};
  unsigned char* text = nullptr;
  const int size = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
  if (size < 0) return {};
  std::string part(reinterpret_cast<char*>(text), static_cast<std::size_t>(size));
  OPENSSL_free(text);
  return part;
}

bool add_name(X509_NAME* name, const char* field, std::string_view value) {
  return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(value.data()),
                                    static_cast<int>(value.size()), -1, 0) == 1;
}

bool add_extension(X509* certificate, const X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, const_cast<X509*>(issuer), certificate, nullptr, nullptr, 0);
  const std::unique_ptr<X509_EXTENSION, openssl::Deleter<X509_EXTENSION_free>> extension(
      X509V3_EXT_conf_nid(nullptr, &context, nid, value));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

// 127 random bits: never twice, and positive as X.509 asks.
bool set_random_serial(X509* certificate) {
  std::array<unsigned char, 16> bytes;
  if (RAND_bytes(bytes.data(), bytes.size()) != 1) return false;
  bytes[0] = static_cast<unsigned char>((bytes[0] & 0x7F) | 0x40);
  const std::unique_ptr<BIGNUM, openssl::Deleter<BN_free>> number(BN_bin2bn(bytes.data(), bytes.size(), nullptr));
  return number && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr;
}

bool set_times(X509* certificate, WallTime not_before, WallTime not_after) {
  return ASN1_TIME_set(X509_getm_notBefore(certificate), static_cast<std::time_t>(not_before.value())) != nullptr &&
         ASN1_TIME_set(X509_getm_notAfter(certificate), static_cast<std::time_t>(not_after.value())) != nullptr;
}

openssl::Key public_key_of(const PeerId& peer) {
  return openssl::Key(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr,
                                                  reinterpret_cast<const unsigned char*>(peer.bytes.data()), peer.bytes.size()));
}

Result<Certificate> finished(openssl::X509Ptr certificate, const PrivateKey& key) {
  // Ed25519 has its own digest inside.
  if (X509_sign(certificate.get(), key.handle(), nullptr) == 0) return openssl::library_failure("signing a certificate");
  return Certificate::from_handle({certificate.release(), X509_free}, "signed certificate");
}

}  // namespace

std::string_view name_of(Role role) { return role == Role::coordinator ? "coordinator" : "worker"; }

Result<Role> role_of(std::string_view name, const std::string& place) {
  for (const Role role : {Role::coordinator, Role::worker})
    if (name == name_of(role)) return role;
  return fail(ErrorCode::foreign, "'" + printable(name) + "' is no role of a peer", place, "use a certificate of this pool");
}

Result<Certificate> Certificate::from_handle(std::shared_ptr<x509_st> handle, const std::string& place) {
  Certificate certificate;
  SUANLI_ASSIGN_OR_RETURN(certificate.key_, peer_id_of(X509_get0_pubkey(handle.get()), place));
  const X509_NAME* subject = X509_get_subject_name(handle.get());
  certificate.pool_ = part_of(subject, NID_organizationName);
  const std::string name = part_of(subject, NID_commonName);
  certificate.authority_ = name == kAuthorityName && X509_check_ca(handle.get()) == 1;
  if (certificate.pool_.empty() || (!certificate.authority_ && name != certificate.key_.hex())) {
    return fail(ErrorCode::foreign, "this is no certificate of a suanli pool (its name is '" + printable(name) + "')", place,
                "use a certificate that a pool has issued");
  }
  if (!certificate.authority_) {
    SUANLI_ASSIGN_OR_RETURN(certificate.role_, role_of(part_of(subject, NID_organizationalUnitName), place));
  }
  certificate.serial_ = openssl::hex_of(X509_get0_serialNumber(handle.get()));
  certificate.not_before_ = wall_time_of(X509_get0_notBefore(handle.get()));
  certificate.not_after_ = wall_time_of(X509_get0_notAfter(handle.get()));
  certificate.certificate_ = std::move(handle);
  return certificate;
}

Result<Certificate> Certificate::parse(std::string_view pem, const std::string& place) {
  const openssl::Bio reader = openssl::reader_of(pem);
  std::shared_ptr<x509_st> certificate(PEM_read_bio_X509(reader.get(), nullptr, nullptr, nullptr), X509_free);
  if (!certificate) {
    return fail(ErrorCode::foreign, "this is no certificate in PEM form: " + openssl::take_error(), place,
                "name a certificate that a pool has issued");
  }
  return from_handle(std::move(certificate), place);
}

Result<Certificate> Certificate::load(const std::string& path) {
  SUANLI_ASSIGN_OR_RETURN(const std::string pem, read_file(path, kMostPemBytes));
  return parse(pem, path);
}

std::string Certificate::pem() const {
  const openssl::Bio writer = openssl::memory_writer();
  SUANLI_CHECK(writer && PEM_write_bio_X509(writer.get(), handle()) == 1);
  return openssl::written(writer);
}

Digest Certificate::fingerprint() const {
  unsigned char* der = nullptr;
  const int size = i2d_X509(handle(), &der);
  SUANLI_CHECK(size > 0);
  const Digest digest = sha256(std::as_bytes(std::span(der, static_cast<std::size_t>(size))));
  OPENSSL_free(der);
  return digest;
}

Status check_validity(const Certificate& certificate, WallTime now, Seconds tolerance) {
  const auto slack = static_cast<std::int64_t>(tolerance.value());
  const std::string whose = "the certificate of peer " + certificate.key().short_text();
  if (now.value() < certificate.not_before().value() - slack) {
    return fail(ErrorCode::unauthorised,
                whose + " begins at " + to_string(certificate.not_before()) + ", but on this machine it is " + to_string(now) +
                    ": the clocks differ by " +
                    format_duration(Seconds(static_cast<double>(certificate.not_before().value() - now.value()))) + " or more",
                {}, "set the clocks of both machines (NTP) and connect again");
  }
  if (now.value() > certificate.not_after().value() + slack) {
    return fail(ErrorCode::unauthorised,
                whose + " expired at " + to_string(certificate.not_after()) + "; on this machine it is " + to_string(now), {},
                "join again with a new token, or set the clock if it is wrong");
  }
  return {};
}

Result<std::string> make_request(const PrivateKey& key) {
  const openssl::Request request(X509_REQ_new());
  if (!request || !add_name(X509_REQ_get_subject_name(request.get()), "CN", key.id().hex()) ||
      X509_REQ_set_pubkey(request.get(), key.handle()) != 1 || X509_REQ_sign(request.get(), key.handle(), nullptr) == 0)
    return openssl::library_failure("making a request for a certificate");
  const openssl::Bio writer = openssl::memory_writer();
  if (!writer || PEM_write_bio_X509_REQ(writer.get(), request.get()) != 1)
    return openssl::library_failure("writing a request for a certificate");
  return openssl::written(writer);
}

Result<PeerId> peer_of_request(std::string_view pem) {
  const std::string place = "certificate request";
  if (pem.size() > static_cast<std::size_t>(kMostPemBytes.value()))
    return fail(ErrorCode::foreign, "the request has " + std::to_string(pem.size()) + " bytes", place, "send one of suanli's");
  const openssl::Bio reader = openssl::reader_of(pem);
  const openssl::Request request(PEM_read_bio_X509_REQ(reader.get(), nullptr, nullptr, nullptr));
  if (!request) {
    return fail(ErrorCode::foreign, "this is no request for a certificate: " + openssl::take_error(), place,
                "send one that suanli made");
  }
  EVP_PKEY* key = X509_REQ_get0_pubkey(request.get());
  SUANLI_ASSIGN_OR_RETURN(const PeerId peer, peer_id_of(key, place));
  if (X509_REQ_verify(request.get(), key) != 1) {
    openssl::take_error();
    return fail(ErrorCode::unauthorised, "the request for peer " + peer.short_text() + " is not signed by that peer's key", place,
                "ask with the key's holder");
  }
  return peer;
}

Result<Certificate> sign_certificate(const CertificateTerms& terms, const Certificate& authority, const PrivateKey& key) {
  SUANLI_CHECK(authority.is_authority() && authority.key() == key.id());
  openssl::X509Ptr certificate(X509_new());
  const openssl::Key subject_key = public_key_of(terms.peer);
  if (!certificate || !subject_key) return openssl::library_failure("making a certificate");
  X509* const x = certificate.get();
  X509_NAME* subject = X509_get_subject_name(x);
  const bool made = X509_set_version(x, X509_VERSION_3) == 1 && set_random_serial(x) &&
                    set_times(x, terms.not_before, terms.not_after) && add_name(subject, "O", authority.pool()) &&
                    add_name(subject, "OU", name_of(terms.role)) && add_name(subject, "CN", terms.peer.hex()) &&
                    X509_set_issuer_name(x, X509_get_subject_name(authority.handle())) == 1 &&
                    X509_set_pubkey(x, subject_key.get()) == 1 &&
                    add_extension(x, authority.handle(), NID_basic_constraints, "critical,CA:FALSE") &&
                    add_extension(x, authority.handle(), NID_key_usage, "critical,digitalSignature") &&
                    add_extension(x, authority.handle(), NID_ext_key_usage, "serverAuth,clientAuth") &&
                    add_extension(x, authority.handle(), NID_subject_key_identifier, "hash") &&
                    add_extension(x, authority.handle(), NID_authority_key_identifier, "keyid");
  if (!made) return openssl::library_failure("making a certificate");
  return finished(std::move(certificate), key);
}

Result<Certificate> sign_authority(const std::string& pool, const PrivateKey& key, WallTime not_before, WallTime not_after) {
  if (pool.empty() || pool.size() > kMostNameBytes || printable(pool, kMostNameBytes) != pool) {
    return fail(ErrorCode::usage, "'" + printable(pool) + "' cannot be a pool's name", "pool name",
                "use 1 to 64 bytes of printable text");
  }
  openssl::X509Ptr certificate(X509_new());
  if (!certificate) return openssl::library_failure("making the authority's certificate");
  X509* const x = certificate.get();
  X509_NAME* subject = X509_get_subject_name(x);
  const bool made = X509_set_version(x, X509_VERSION_3) == 1 && set_random_serial(x) && set_times(x, not_before, not_after) &&
                    add_name(subject, "O", pool) && add_name(subject, "CN", kAuthorityName) &&
                    X509_set_issuer_name(x, subject) == 1 && X509_set_pubkey(x, key.handle()) == 1 &&
                    add_extension(x, x, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
                    add_extension(x, x, NID_key_usage, "critical,keyCertSign,cRLSign") &&
                    add_extension(x, x, NID_subject_key_identifier, "hash");
  if (!made) return openssl::library_failure("making the authority's certificate");
  return finished(std::move(certificate), key);
}

}  // namespace suanli::net
