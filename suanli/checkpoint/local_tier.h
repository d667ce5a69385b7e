// Snapshots on the local disk, in the run folder: checkpoints/step-00000100/{state.safetensors,
// manifest.json}.
//
// A folder with its final name is complete: it is written as step-00000100.partial (data, then
// manifest, both fsynced) and renamed. A process killed at any moment leaves, beside complete
// snapshots, only folders that the next owner of the run folder tidies up.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <mutex>

#include "suanli/checkpoint/tier.h"

namespace suanli::checkpoint {

class LocalTier final : public Tier {
 public:
  enum class Access {
    owner,  // holds the FolderLock of the run folder; may save and prune; opening removes leftovers
    reader,  // changes nothing
  };
  static Result<std::unique_ptr<LocalTier>> open(const std::string& run_folder, Access access);

  [[nodiscard]] Status save(const Snapshot& snapshot) override;
  [[nodiscard]] Result<std::vector<SnapshotInfo>> list() const override;
  [[nodiscard]] Result<Snapshot> load(std::int64_t step, const TensorFilter& filter) const override;
  [[nodiscard]] Status prune(int keep) override;
  // Removes the snapshot of this step, as prune() would. Its owner's, who knows of a newer one. Not there: nothing happens.
  [[nodiscard]] Status remove(std::int64_t step);

  std::string folder_of(std::int64_t step) const;

 private:
  // Inode, size and time of change of a file: equal means unchanged.
  struct FileMark {
    std::uint64_t inode = 0;
    std::int64_t size = 0, seconds = 0, nanoseconds = 0;
    bool operator==(const FileMark&) const = default;
  };
  using Marks = std::array<FileMark, 2>;  // of data and manifest

  LocalTier(std::string folder, Access access) : folder_(std::move(folder)), access_(access) {}
  Status tidy();
  Status write_into(const std::string& folder, const Snapshot& snapshot) const;
  Status publish(const std::string& partial, std::int64_t step);
  bool can_load(std::int64_t step);
  Status take_away(std::int64_t step);
  std::optional<Marks> marks_of(std::int64_t step) const;

  std::string folder_;
  Access access_;
  std::mutex mutex_;                    // save and prune
  std::map<std::int64_t, Marks> good_;  // snapshots known to load, as they were then
};

}  // namespace suanli::checkpoint
