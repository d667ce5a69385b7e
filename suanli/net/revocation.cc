#include "suanli/net/revocation.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <ctime>

#include "suanli/net/openssl.h"

namespace suanli::net {
namespace {

using Number = std::unique_ptr<BIGNUM, openssl::Deleter<BN_free>>;

openssl::Integer integer_of_hex(const std::string& hex) {
  BIGNUM* number = nullptr;
  if (BN_hex2bn(&number, hex.c_str()) == 0) return nullptr;
  const Number owner(number);
  return openssl::Integer(BN_to_ASN1_INTEGER(number, nullptr));
}

bool add_revoked(X509_CRL* list, const std::string& serial, const ASN1_TIME* now) {
  std::unique_ptr<X509_REVOKED, openssl::Deleter<X509_REVOKED_free>> entry(X509_REVOKED_new());
  const openssl::Integer number = integer_of_hex(serial);
  if (!entry || !number || X509_REVOKED_set_serialNumber(entry.get(), number.get()) != 1 ||
      X509_REVOKED_set_revocationDate(entry.get(), const_cast<ASN1_TIME*>(now)) != 1 ||
      X509_CRL_add0_revoked(list, entry.get()) != 1)
    return false;
  entry.release();  // the list's now
  return true;
}

}  // namespace

Result<RevocationList> RevocationList::parse(std::string_view pem, const Certificate& authority) {
  const std::string place = "revocation list";
  const openssl::Bio reader = openssl::reader_of(pem);
  const openssl::Crl crl(PEM_read_bio_X509_CRL(reader.get(), nullptr, nullptr, nullptr));
  if (!crl) {
    return fail(ErrorCode::foreign, "this is no revocation list in PEM form: " + openssl::take_error(), place,
                "fetch it again from the coordinator");
  }
  if (X509_CRL_verify(crl.get(), X509_get0_pubkey(authority.handle())) != 1) {
    openssl::take_error();
    return fail(ErrorCode::unauthorised, "the list is not signed by the authority of pool '" + authority.pool() + "'", place,
                "fetch it again from the coordinator");
  }
  RevocationList list;
  const openssl::Integer number(static_cast<ASN1_INTEGER*>(X509_CRL_get_ext_d2i(crl.get(), NID_crl_number, nullptr, nullptr)));
  if (number) list.number_ = ASN1_INTEGER_get(number.get());
  STACK_OF(X509_REVOKED)* entries = X509_CRL_get_REVOKED(crl.get());
  for (int i = 0; i < sk_X509_REVOKED_num(entries); ++i)
    list.serials_.insert(openssl::hex_of(X509_REVOKED_get0_serialNumber(sk_X509_REVOKED_value(entries, i))));
  return list;
}

Result<std::string> sign_revocation_list(std::span<const std::string> serials, std::int64_t number, WallTime now,
                                         const Certificate& authority, const PrivateKey& key) {
  constexpr std::int64_t kNextUpdateDays = 30;
  const openssl::Crl crl(X509_CRL_new());
  const openssl::Time made(ASN1_TIME_set(nullptr, static_cast<std::time_t>(now.value())));
  const openssl::Time next(ASN1_TIME_set(nullptr, static_cast<std::time_t>(now.value() + kNextUpdateDays * kDay)));
  const openssl::Integer count(ASN1_INTEGER_new());
  bool good = crl && made && next && count && X509_CRL_set_version(crl.get(), X509_CRL_VERSION_2) == 1 &&
              X509_CRL_set_issuer_name(crl.get(), X509_get_subject_name(authority.handle())) == 1 &&
              X509_CRL_set1_lastUpdate(crl.get(), made.get()) == 1 && X509_CRL_set1_nextUpdate(crl.get(), next.get()) == 1 &&
              ASN1_INTEGER_set_int64(count.get(), number) == 1 &&
              X509_CRL_add1_ext_i2d(crl.get(), NID_crl_number, count.get(), 0, 0) == 1;
  for (const std::string& serial : serials) good = good && add_revoked(crl.get(), serial, made.get());
  const openssl::Bio writer = openssl::memory_writer();
  good = good && writer && X509_CRL_sort(crl.get()) == 1 && X509_CRL_sign(crl.get(), key.handle(), nullptr) != 0 &&
         PEM_write_bio_X509_CRL(writer.get(), crl.get()) == 1;
  if (!good) return openssl::library_failure("signing a revocation list");
  return openssl::written(writer);
}

}  // namespace suanli::net
