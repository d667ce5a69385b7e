// The per-sample buffers m of AQ-SGD at one end of a stage's links (graph/codec.h, Codec::Kind::delta): for each boundary and
// sample what both ends believe the activation to be. Bounded: memory first, then a spill file, then not at all; a sample
// without a buffer is sent in full, which costs bytes and nothing else.
//
//   if (auto mark = store.mark({boundary, sample}); mark && *mark == what_the_other_end_says) {
//     SUANLI_ASSIGN_OR_RETURN(const bool found, store.get({boundary, sample}, m));   // then q = Q(a - m)
//   } else { send a in full; m = a; }
//   SUANLI_RETURN_IF_ERROR(store.put({boundary, sample}, visit, m_next));
//
// What is kept. In an epoch every sample is used once, in any order, so the one used longest ago is the next to be used: to
// throw that one out for a newcomer would in the end keep nothing. Who came first therefore stays, and stays where it is; a
// newcomer that does not fit is not kept. Only what was not used for `stale_after` uses gives way, oldest first. All of it is a
// function of the calls made: two stores of the same options and calls hold the same.
//
// A spilled buffer is checked against its digest when it is read; one that is damaged is forgotten.
// Thread rule: one thread at a time.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/file.h"
#include "suanli/base/sha256.h"
#include "suanli/base/units.h"

namespace suanli::train {

class ActivationStore {
 public:
  struct Options {
    Bytes memory{std::int64_t{1} << 30};  // of buffers in RAM
    Bytes disk{0};                        // of the spill file; 0: none
    std::string folder{};                 // where the spill file lies; it has no name there, and is gone with the process
    std::uint64_t stale_after = 0;        // twice the samples of an epoch is right; 0: nothing gives way
  };
  struct Key {
    std::int32_t boundary = 0;
    std::int64_t sample = 0;
    auto operator<=>(const Key&) const = default;
  };
  // What both ends compare before a visit.
  struct Mark {
    std::uint64_t visit = 0;  // of the last put
    Digest digest;            // SHA-256 of the buffer
    bool operator==(const Mark&) const = default;
  };
  struct Stats {
    std::int64_t entries = 0, spilled = 0;  // there now, and of them on disk
    Bytes memory, disk;                     // taken by them
    std::int64_t refused = 0, evicted = 0, damaged = 0;  // since the store was made
  };

  // Errors: those of making the spill file.
  static Result<ActivationStore> create(Options options);
  ActivationStore(ActivationStore&&) noexcept;
  ActivationStore& operator=(ActivationStore&&) noexcept;
  ~ActivationStore();

  // Keeps a copy in place of what the key had. False if it does not fit: then the key has nothing, as after an error. Errors: io,
  // no_space; no_memory, if neither the machine's memory nor the spill file has room.
  Result<bool> put(Key key, std::uint64_t visit, ByteSpan buffer);
  // False if the key has nothing. Errors: mismatch (a buffer of another size), io.
  Result<bool> get(Key key, std::span<std::byte> buffer);
  std::optional<Mark> mark(Key key) const;
  void erase(Key key);
  // All buffers of a boundary, when its link is gone.
  void erase_boundary(std::int32_t boundary);
  const Stats& stats() const { return stats_; }

  // A file of docs/formats/activation-store.md. Damaged buffers are left out.
  Status save(const std::string& path);
  // The same buffers in a new store. Of smaller options it keeps what fits, in the order of keys.
  static Result<ActivationStore> restore(const std::string& path, Options options);

 private:
  struct Entry {
    Mark mark;
    std::uint64_t last_use = 0;
    std::list<Key>::iterator age;
    std::int64_t size = 0;
    std::vector<std::byte> data;   // if in memory
    std::int64_t offset = -1;      // in the spill file, if there
  };
  class SpillFile;
  using Entries = std::map<Key, Entry>;

  explicit ActivationStore(Options options);
  bool find_place(Entry& entry);
  void use(Entry& entry);
  void remove(Entries::iterator entry);
  // False: damaged, and removed.
  Result<bool> read(Entries::iterator entry, std::span<std::byte> buffer);

  Options options_;
  Entries entries_;
  std::list<Key> ages_;  // least recently used first
  std::uint64_t uses_ = 0;
  std::unique_ptr<SpillFile> spill_;
  Stats stats_;
};

// A saved store as plain data; `data` points into the bytes given. Digests of index and buffers have been checked.
struct SavedActivation {
  ActivationStore::Key key;
  ActivationStore::Mark mark;
  std::uint64_t last_use = 0;
  ByteSpan data;
};
struct SavedActivations {
  std::uint64_t uses = 0;
  std::vector<SavedActivation> entries;  // by key
};
Result<SavedActivations> parse_activations(ByteSpan file, const std::string& place);

}  // namespace suanli::train
