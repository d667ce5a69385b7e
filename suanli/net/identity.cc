#include "suanli/net/identity.h"

#include <openssl/pem.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "suanli/base/file.h"
#include "suanli/base/sha256.h"
#include "suanli/net/openssl.h"

namespace suanli::net {
namespace {

constexpr Bytes kMostKeyBytes{16384};

// Secrets are wiped from memory that we own.
struct Wiped {
  std::string text;
  ~Wiped() { OPENSSL_cleanse(text.data(), text.size()); }
};

int no_passphrase(char*, int, int, void*) { return 0; }

}  // namespace

std::string PeerId::hex() const { return Digest{bytes}.hex(); }
std::string PeerId::short_text() const { return hex().substr(0, 12); }

Result<PeerId> PeerId::from_hex(std::string_view hex) {
  SUANLI_ASSIGN_OR_RETURN(const Digest digest, Digest::from_hex(hex));
  return PeerId{digest.bytes};
}

Result<PeerId> peer_id_of(const evp_pkey_st* key, const std::string& place) {
  PeerId id;
  std::size_t size = id.bytes.size();
  if (key == nullptr || EVP_PKEY_get_id(key) != EVP_PKEY_ED25519 ||
      EVP_PKEY_get_raw_public_key(key, reinterpret_cast<unsigned char*>(id.bytes.data()), &size) != 1 ||
      size != id.bytes.size()) {
    openssl::take_error();
    return fail(ErrorCode::foreign, "the key is not an Ed25519 key", place, "use a key that suanli made");
  }
  return id;
}

Result<PrivateKey> PrivateKey::from_handle(std::shared_ptr<evp_pkey_st> key, const std::string& place) {
  SUANLI_ASSIGN_OR_RETURN(const PeerId id, peer_id_of(key.get(), place));
  return PrivateKey(std::move(key), id);
}

Result<PrivateKey> PrivateKey::generate() {
  std::shared_ptr<evp_pkey_st> key(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"), EVP_PKEY_free);
  if (!key) return openssl::library_failure("making an Ed25519 key");
  return from_handle(std::move(key), {});
}

Result<PrivateKey> PrivateKey::load(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) {
    const int error_number = errno;
    return tl::unexpected<Error>(system_error(error_number, "opening the private key", path));
  }
  if ((info.st_mode & 077) != 0) {
    return fail(ErrorCode::unauthorised, "others than its owner may use this private key", path,
                "run chmod 600 on it; if somebody may have read it, delete it and join again");
  }
  SUANLI_ASSIGN_OR_RETURN(std::string content, read_file(path, kMostKeyBytes));
  const Wiped pem{std::move(content)};
  const openssl::Bio reader = openssl::reader_of(pem.text);
  std::shared_ptr<evp_pkey_st> key(PEM_read_bio_PrivateKey(reader.get(), nullptr, no_passphrase, nullptr), EVP_PKEY_free);
  if (!key) {
    return fail(ErrorCode::foreign, "this is no private key in PEM form: " + openssl::take_error(), path,
                "name the key file that suanli made");
  }
  return from_handle(std::move(key), path);
}

Result<PrivateKey> PrivateKey::load_or_create(const std::string& path) {
  auto loaded = load(path);
  if (loaded || loaded.error().code != ErrorCode::not_found) return loaded;
  SUANLI_ASSIGN_OR_RETURN(PrivateKey key, generate());
  SUANLI_RETURN_IF_ERROR(key.save(path));
  return key;
}

Status PrivateKey::save(const std::string& path) const {
  const openssl::Bio writer = openssl::memory_writer();
  if (!writer || PEM_write_bio_PKCS8PrivateKey(writer.get(), handle(), nullptr, nullptr, 0, nullptr, nullptr) != 1)
    return openssl::library_failure("writing a private key");
  char* data = nullptr;
  const long size = BIO_get_mem_data(writer.get(), &data);
  const Status saved = write_file_atomic(path, as_bytes({data, static_cast<std::size_t>(size)}), FileAccess::owner_only);
  OPENSSL_cleanse(data, static_cast<std::size_t>(size));
  return saved;
}

}  // namespace suanli::net
