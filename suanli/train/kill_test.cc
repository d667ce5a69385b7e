// A trainer that is killed at random moments and started again ends with the bits of one that was
// not.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <random>
#include <thread>

#include "suanli/train/run_records.h"
#include "suanli/train/test_run.h"

namespace suanli::train {
namespace {

// Trains in a child process, which is killed after `life` unless it ends before. Returns whether it
// finished.
bool run_and_kill(const JobConfig& job, bool resume, std::chrono::microseconds life) {
  const pid_t child = fork();
  SUANLI_CHECK(child >= 0);
  if (child == 0) {
    const auto report = run_job(job, resume);
    _exit(report && report->outcome == Outcome::finished ? 0 : 3);
  }
  const auto end = std::chrono::steady_clock::now() + life;
  int status = 0;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() >= end) {
      kill(child, SIGKILL);
      waitpid(child, &status, 0);
      break;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0) << "the child failed by itself";
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(Kill, AtRandomMomentsLosesNothingButTime) {
  const TestFolder folder;
  write_dataset(folder / "data", periodic_text(4000));
  JobConfig job = tiny_job(folder / "data", folder / "killed");
  job.train.steps = 40;
  job.checkpoint = {.every = 2, .keep = 2};
  std::mt19937 random(7);
  int kills = 0;
  meter::Totals before;
  for (bool finished = false; !finished; ++kills) {
    const bool resume = ::access((job.run.dir + "/run.json").c_str(), F_OK) == 0;
    // Lives grow, so that the run ends on any machine.
    const auto longest = std::chrono::microseconds(20'000 + 5'000 * kills);
    finished = run_and_kill(job, resume, longest * (random() % 1000) / 1000);
    ASSERT_FALSE(HasFailure());
    // However it ended, all that earlier lives had told of is still counted, each operation by its op.
    const auto records = read_run_records(job.run.dir);
    if (!records) continue;
    const meter::Totals& now = records->spent.totals;
    for (std::size_t i = 0; i < now.seconds.size(); ++i) EXPECT_GE(now.seconds[i], before.seconds[i]);
    for (std::size_t i = 0; i < now.runs.size(); ++i) EXPECT_GE(now.runs[i], before.runs[i]);
    const WorkByOp work = work_by_op(*records);
    EXPECT_EQ(work.unnamed, Flops(0));
    Flops sum;
    for (const auto& [op, flops] : work.by_op) sum += flops;
    EXPECT_EQ(sum, records->spent.flops_total);
    EXPECT_GE(now.runs_of(meter::Part::update), records->last_step());
    before = now;
  }
  EXPECT_GT(kills, 1);
  JobConfig undisturbed = job;
  undisturbed.run.dir = folder / "undisturbed";
  ASSERT_TRUE(run_job(undisturbed));
  EXPECT_EQ(final_state(job.run.dir).step, 40);
  EXPECT_EQ(final_state(job.run.dir), final_state(undisturbed.run.dir));
}

}  // namespace
}  // namespace suanli::train
