#include "suanli/net/openssl.h"

#include <openssl/bn.h>
#include <openssl/err.h>

#include <climits>

namespace suanli::net::openssl {

std::string take_error() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) return "no reason given";
  const char* reason = ERR_reason_error_string(code);
  return reason ? reason : "error " + std::to_string(code);
}

tl::unexpected<Error> library_failure(std::string_view doing) {
  return fail(ErrorCode::unsupported, "OpenSSL failed while " + std::string(doing) + ": " + take_error(), {},
              "check that OpenSSL 3 is installed whole and that memory is free");
}

std::string hex_of(const ASN1_INTEGER* number) {
  const std::unique_ptr<BIGNUM, Deleter<BN_free>> value(ASN1_INTEGER_to_BN(number, nullptr));
  char* text = value ? BN_bn2hex(value.get()) : nullptr;
  std::string hex = text ? text : "";
  OPENSSL_free(text);
  for (char& digit : hex)
    if (digit >= 'A' && digit <= 'F') digit = static_cast<char>(digit - 'A' + 'a');
  return hex;
}

Bio reader_of(std::string_view text) {
  SUANLI_CHECK(text.size() <= INT_MAX);
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

Bio memory_writer() { return Bio(BIO_new(BIO_s_mem())); }

std::string written(const Bio& bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return size > 0 ? std::string(data, static_cast<std::size_t>(size)) : std::string();
}

}  // namespace suanli::net::openssl
