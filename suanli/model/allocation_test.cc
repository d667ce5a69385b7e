// A steady training step allocates nothing. malloc and its kin are replaced for this
// test binary by versions that count while a test asks for it; operator new comes through malloc.
// Sanitizers replace malloc themselves, so under them these tests are skipped.

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "suanli/engine/cpu/onednn.h"
#include "suanli/model/gpt_test_support.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SUANLI_COUNTS_ALLOCATIONS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define SUANLI_COUNTS_ALLOCATIONS 0
#endif
#endif
#if !defined(SUANLI_COUNTS_ALLOCATIONS)
#if defined(__GLIBC__)
#define SUANLI_COUNTS_ALLOCATIONS 1
#else
#define SUANLI_COUNTS_ALLOCATIONS 0
#endif
#endif

namespace {

// Of all threads, while `counting`.
std::atomic<bool> counting{false};
std::atomic<std::int64_t> ours{0};
std::atomic<std::int64_t> of_onednn{0};

}  // namespace

#if SUANLI_COUNTS_ALLOCATIONS

namespace {
void note() {
  if (!counting.load(std::memory_order_relaxed)) return;
  (suanli::engine::inside_onednn() ? of_onednn : ours).fetch_add(1, std::memory_order_relaxed);
}
}  // namespace

// glibc's own functions under their other names ("Replacing malloc" in its manual).
extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* old, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);

void* malloc(std::size_t size) noexcept {
  note();
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) noexcept {
  note();
  return __libc_calloc(count, size);
}
void* realloc(void* old, std::size_t size) noexcept {
  note();
  return __libc_realloc(old, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  note();
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** to, std::size_t alignment, std::size_t size) noexcept {
  note();
  void* data = __libc_memalign(alignment, size);
  if (data == nullptr) return ENOMEM;
  *to = data;
  return 0;
}
}

#endif

namespace suanli::model {
namespace {

using engine::Arithmetic;
using test::Bench;
using test::TokenBatch;

struct Counts {
  std::int64_t ours = 0, of_onednn = 0;
};

// Allocations of all threads while `work` runs.
template <typename Work>
Counts count_allocations(Work work) {
  ours = 0;
  of_onednn = 0;
  counting = true;
  work();
  counting = false;
  return {ours, of_onednn};
}

// Several tiles in each kernel, a tail in each dimension.
const GptConfig kConfig{.layers = 2, .heads = 3, .width = 156, .context = 70, .vocab = 331};
constexpr std::int64_t kBatch = 2, kMicroBatches = 2;

// Two steps to warm up, then five: their allocations.
Counts steady_steps(Arithmetic arithmetic, int threads, Pacer* pacer = nullptr,
                    bool timing = false) {
  const auto graph = gpt_training_graph(kConfig, kBatch, kMicroBatches, {});
  SUANLI_CHECK(graph.has_value());
  auto bench = Bench::make(*graph, {.arithmetic = arithmetic}, threads);
  SUANLI_CHECK(bench.has_value());
  bench->executor->set_timing(timing);
  const std::vector<TokenBatch> micro_batches = {test::random_batch(kConfig, kBatch, 1, 0.1),
                                                 test::random_batch(kConfig, kBatch, 2, 0.1)};
  const auto steps = [&](int count) {
    for (int i = 0; i < count; ++i) {
      SUANLI_CHECK(test::train_step(*bench->executor, micro_batches, 1e-3F).has_value());
      SUANLI_CHECK(bench->executor->read_scalar("grad_norm").has_value());
    }
  };
  steps(2);
  bench->device->set_pacer(pacer);
  const Counts counts = count_allocations([&] { steps(5); });
  bench->device->set_pacer(nullptr);
  return counts;
}

class Allocation : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!SUANLI_COUNTS_ALLOCATIONS) GTEST_SKIP() << "allocations are not counted in this build";
  }
};

// Keeps the compiler from leaving an allocation out.
void* volatile kept = nullptr;

TEST_F(Allocation, EveryWayOfAllocatingCounts) {
  const auto count = [](auto allocate) {
    return count_allocations([&] {
             kept = allocate();
             std::free(kept);
           })
        .ours;
  };
  EXPECT_EQ(count([]() -> void* { return nullptr; }), 0);
  EXPECT_EQ(count([] { return std::malloc(16); }), 1);
  EXPECT_EQ(count([] { return std::calloc(2, 8); }), 1);
  EXPECT_EQ(count([] { return std::realloc(nullptr, 16); }), 1);
  EXPECT_EQ(count([] { return std::aligned_alloc(64, 64); }), 1);
  EXPECT_EQ(count_allocations([] { kept = std::make_unique<double>(1).get(); }).ours, 1);
  EXPECT_EQ(count_allocations([] { kept = std::vector<int>(100).data(); }).ours, 1);
  const engine::OneDnnScope scope;
  const Counts inside = count_allocations([] { kept = std::make_unique<double>(1).get(); });
  EXPECT_EQ(inside.ours, 0);
  EXPECT_EQ(inside.of_onednn, 1);
}

TEST_F(Allocation, ASteadyStepMakesNone) {
  for (const Arithmetic arithmetic : {Arithmetic::f32, Arithmetic::bf16})
    for (const int threads : {1, 3}) {
      const Counts counts = steady_steps(arithmetic, threads);
      EXPECT_EQ(counts.ours, 0) << engine::name_of(arithmetic) << ", " << threads << " threads";
      std::printf("%s, %d threads: in five steps oneDNN made %lld allocations, suanli %lld\n",
                  std::string(engine::name_of(arithmetic)).c_str(), threads,
                  static_cast<long long>(counts.of_onednn), static_cast<long long>(counts.ours));
    }
  EXPECT_EQ(steady_steps(Arithmetic::f32, 2, nullptr, true).ours, 0) << "with timing";
}

// The test above can fail: an allocation inside the threads of a step is found.
TEST_F(Allocation, OneInsideAKernelsTaskIsFound) {
  struct Allocating final : Pacer {
    void pace(double) override {
      if (!done.exchange(true)) kept = std::make_unique<double>(1).get();
    }
    std::atomic<bool> done{false};
  } pacer;
  EXPECT_EQ(steady_steps(Arithmetic::f32, 3, &pacer).ours, 1);
}

}  // namespace
}  // namespace suanli::model
