// Processes that die while they save: killed at random moments, or out of disk space.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <thread>

#include "suanli/base/test_folder.h"
#include "suanli/checkpoint/local_tier.h"
#include "suanli/checkpoint/test_snapshot.h"

namespace suanli::checkpoint {
namespace {

constexpr int kKills = 60;
constexpr std::int64_t kRows = 64;  // snapshots of 32 KiB

std::unique_ptr<LocalTier> open_owner(const std::string& run) {
  auto tier = LocalTier::open(run, LocalTier::Access::owner);
  return tier ? std::move(*tier) : nullptr;
}

// The life of a trainer: goes on from the newest snapshot, saves step after step (every third one
// twice, so that replacing is interrupted too), and acknowledges each through the pipe once it is
// saved.
[[noreturn]] void save_until_killed(const std::string& run, int pipe_end) {
  auto tier = open_owner(run);
  if (!tier) _exit(10);
  auto infos = tier->list();
  if (!infos) _exit(11);
  constexpr std::int64_t kReady = 0;
  if (write(pipe_end, &kReady, sizeof kReady) != sizeof kReady) _exit(13);
  for (std::int64_t step = infos->empty() ? 1 : infos->back().step + 1;; ++step) {
    for (int time = 0; time < (step % 3 == 0 ? 2 : 1); ++time) {
      if (!tier->save(test_snapshot(step, kRows))) _exit(12);
      if (write(pipe_end, &step, sizeof step) != sizeof step) _exit(13);
    }
    if (!tier->prune(2)) _exit(14);
  }
}

// Lets a child live for this long, counted from its start or from when it is ready, kills it, and
// returns the last step it acknowledged (0: none).
std::int64_t run_and_kill(const std::string& run, bool from_ready, std::chrono::microseconds life) {
  int ends[2];
  SUANLI_CHECK(pipe(ends) == 0);
  const pid_t child = fork();
  SUANLI_CHECK(child >= 0);
  if (child == 0) {
    close(ends[0]);
    save_until_killed(run, ends[1]);
  }
  close(ends[1]);
  std::int64_t acknowledged = 0, step = 0;
  if (from_ready) {
    EXPECT_EQ(read(ends[0], &step, sizeof step), ssize_t{sizeof step});
  }
  std::this_thread::sleep_for(life);
  kill(child, SIGKILL);
  int status = 0;
  SUANLI_CHECK(waitpid(child, &status, 0) == child);
  EXPECT_TRUE(WIFSIGNALED(status)) << "the child ended itself with " << WEXITSTATUS(status);
  while (read(ends[0], &step, sizeof step) == sizeof step) acknowledged = step;
  close(ends[0]);
  return acknowledged;
}

// Folders under checkpoints/ that a killed child left half done.
std::int64_t unfinished_folders(const std::string& run) {
  std::int64_t count = 0;
  std::error_code none_yet;
  for (const auto& entry : std::filesystem::directory_iterator(run + "/checkpoints", none_yet))
    count += entry.path().has_extension() ? 1 : 0;
  return count;
}

TEST(Crash, AKillAtAnyMomentLosesNoAcknowledgedSnapshot) {
  TestFolder run;
  std::mt19937 random(20240229);
  std::uniform_int_distribution<int> life_us(100, 50'000);
  std::int64_t acknowledged = 0, leftovers = 0;
  for (int kills = 0; kills < kKills; ++kills) {
    const std::chrono::microseconds life(life_us(random));
    acknowledged = std::max(acknowledged, run_and_kill(run.path(), kills % 4 != 0, life));
    leftovers += unfinished_folders(run.path());

    auto tier = open_owner(run.path());
    ASSERT_TRUE(tier);
    auto infos = tier->list();
    ASSERT_TRUE(infos) << infos.error().to_string();
    if (acknowledged == 0 && infos->empty()) continue;
    ASSERT_FALSE(infos->empty()) << "acknowledged step " << acknowledged << " is gone";
    EXPECT_GE(infos->back().step, acknowledged);
    EXPECT_LE(infos->back().step, acknowledged + 1);  // saved, and killed before it could say so
    for (const SnapshotInfo& info : *infos) {
      auto loaded = tier->load(info.step, {});
      ASSERT_TRUE(loaded) << loaded.error().to_string();
      EXPECT_TRUE(same(*loaded, test_snapshot(info.step, kRows))) << info.step;
    }
    acknowledged = infos->back().step;
  }
  // Else the kills missed what they are for.
  EXPECT_GT(acknowledged, 0);
  EXPECT_GT(leftovers, 0);
}

enum ChildResult { kAsExpected = 0, kNoTier, kSaved, kWrongCode, kOldGone, kOldChanged, kLeftover };

// In a process that may not write files beyond `limit` bytes.
ChildResult save_under_limit(const std::string& run, rlim_t limit) {
  signal(SIGXFSZ, SIG_IGN);
  const rlimit size{limit, limit};
  setrlimit(RLIMIT_FSIZE, &size);
  auto tier = open_owner(run);
  if (!tier) return kNoTier;
  const Status status = tier->save(test_snapshot(2, kRows));
  if (status) return kSaved;
  if (status.error().code != ErrorCode::no_space) return kWrongCode;
  // Also a step that exists already stays as it was.
  if (tier->save(test_snapshot(1, 2 * kRows))) return kSaved;
  auto old = tier->load(1, {});
  if (!old) return kOldGone;
  if (!same(*old, test_snapshot(1, kRows))) return kOldChanged;
  for (const auto& entry : std::filesystem::directory_iterator(run + "/checkpoints"))
    if (entry.path().filename() != "step-00000001") return kLeftover;
  return kAsExpected;
}

TEST(Crash, AFullDiskLeavesThePreviousSnapshot) {
  TestFolder run;
  ASSERT_TRUE(open_owner(run.path())->save(test_snapshot(1, kRows)));
  // Nothing fits; the manifest alone would; the data file lacks its last byte.
  const auto data_size = std::filesystem::file_size(std::filesystem::path(run.path()) /
                                                    "checkpoints/step-00000001/state.safetensors");
  for (const rlim_t limit : {std::uintmax_t{1}, std::uintmax_t{4096}, data_size - 1}) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) _exit(save_under_limit(run.path(), limit));
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), kAsExpected) << "limit " << limit;
  }
}

}  // namespace
}  // namespace suanli::checkpoint
