// Owners for OpenSSL's objects, and its error queue as text. For sources of this room alone.
#pragma once

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>
#include <string>
#include <string_view>

#include "suanli/base/error.h"

namespace suanli::net::openssl {

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};

using Key = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using X509Ptr = std::unique_ptr<X509, Deleter<X509_free>>;
using Request = std::unique_ptr<X509_REQ, Deleter<X509_REQ_free>>;
using Crl = std::unique_ptr<X509_CRL, Deleter<X509_CRL_free>>;
using Bio = std::unique_ptr<BIO, Deleter<BIO_free_all>>;
using Context = std::unique_ptr<SSL_CTX, Deleter<SSL_CTX_free>>;
using Connection = std::unique_ptr<SSL, Deleter<SSL_free>>;
using Integer = std::unique_ptr<ASN1_INTEGER, Deleter<ASN1_INTEGER_free>>;
using Time = std::unique_ptr<ASN1_TIME, Deleter<ASN1_TIME_free>>;

// The oldest entry of the thread's error queue, in words; empties the queue.
std::string take_error();

// Error of a call that fails only for want of memory or by a broken library.
tl::unexpected<Error> library_failure(std::string_view doing);

// Lower-case hexadecimal digits of a serial number.
std::string hex_of(const ASN1_INTEGER* number);

// A BIO that reads `text`, which must live as long.
Bio reader_of(std::string_view text);
Bio memory_writer();
std::string written(const Bio& bio);

}  // namespace suanli::net::openssl
