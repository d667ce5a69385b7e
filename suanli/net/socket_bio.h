// OpenSSL's way to a non-blocking socket, with several records for one system call. OpenSSL's own BIO makes three calls of each
// record of 16 KiB: one to write it, two to read its length and then the rest.
//
// Reading takes what has come beyond what was asked for, and serves it next. Writing passes each record on at once, unless the
// caller has said that more follows: then records are gathered and go out together.
#pragma once

#include <openssl/bio.h>

#include <cstddef>
#include <vector>

namespace suanli::net {

// One thread. Outlives the BIO; the socket outlives both.
class SocketBio {
 public:
  // Ciphertext: four records of 16 KiB. What one connection holds of bulk, each way; one without bulk holds a few KiB.
  static constexpr std::size_t kMostHeldBytes = std::size_t{4} * (16384 + 256);

  explicit SocketBio(int socket) : socket_(socket) {}
  SocketBio(const SocketBio&) = delete;
  SocketBio& operator=(const SocketBio&) = delete;

  // A new BIO on this socket, or null; the caller frees it.
  BIO* make();

  // More follows: records may be held back, until flush().
  void gather(bool more_follows) { gathers_ = more_follows; }
  // Sends what is held back, as far as the socket takes it. Errors show when the socket is used next; then nothing is held.
  void flush();
  bool holds() const { return sent_ < out_.size(); }
  // The socket did not take all of the last bytes: it is worth trying again when it is writable.
  bool is_full() const { return full_; }
  // Bytes have been read that OpenSSL has not asked for yet.
  bool has_read_ahead() const { return taken_ < arrived_; }

 private:
  int read(char* into, std::size_t size);
  int write(const char* from, std::size_t size);
  // Bytes that the socket took, 0 if it is full, -1 for an error (errno).
  std::ptrdiff_t send(const void* from, std::size_t size);
  static int on_read(BIO* bio, char* into, int size);
  static int on_write(BIO* bio, const char* from, int size);
  static long on_control(BIO* bio, int command, long, void*);
  static const BIO_METHOD* method();

  int socket_;
  bool gathers_ = false, full_ = false, at_end_ = false;
  std::vector<char> out_;  // held back, from sent_ on
  std::size_t sent_ = 0;
  std::vector<char> in_;  // read ahead: from taken_ to arrived_
  std::size_t taken_ = 0, arrived_ = 0;
};

}  // namespace suanli::net
