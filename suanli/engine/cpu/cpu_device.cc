// The CPU as a device. The compute stream runs its work at once in the calling thread; every other
// stream is a thread with a queue, so that copies go on beside compute.

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "suanli/base/system.h"
#include "suanli/base/text.h"
#include "suanli/engine/device.h"

namespace suanli::engine {
namespace {

constexpr std::int64_t kHugePage = 2 << 20;
constexpr std::int64_t kPopulated = 16 << 20;  // bytes of one task that takes pages
constexpr std::int64_t kPiece = 1 << 20;  // bytes of one task that copies or fills

// One-shot flag that threads can wait for.
struct Flag {
  std::mutex mutex;
  std::condition_variable changed;
  bool set = false;

  void raise() {
    const std::lock_guard lock(mutex);
    set = true;
    changed.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return set; });
  }
  bool get() {
    const std::lock_guard lock(mutex);
    return set;
  }
};

Flag* flag_of(const Event& event) { return static_cast<Flag*>(event.state.get()); }

class InlineStream final : public Stream {};

class QueueStream final : public Stream {
 public:
  QueueStream() : thread_([this] { work(); }) {}
  ~QueueStream() override {
    push({});
    thread_.join();
  }

  // An empty job ends the thread after all before it.
  void push(std::function<void()> job) {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
    changed_.notify_one();
  }

 private:
  void work() {
    for (;;) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return !jobs_.empty(); });
      const std::function<void()> job = std::move(jobs_.front());
      jobs_.pop_front();
      lock.unlock();
      if (!job) return;
      job();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  std::thread thread_;
};

class CpuDevice final : public Device {
 public:
  explicit CpuDevice(int threads) : pool_(threads) {}

  std::string name() const override { return "cpu"; }

  Result<Buffer> allocate(Bytes size) override {
    const std::int64_t wanted = std::max<std::int64_t>(size.value(), 64);
    const Bytes available = available_for(Bytes(wanted));
    if (available > Bytes(0) && Bytes(wanted) > available)
      return fail(ErrorCode::no_memory,
                  "a buffer of " + format_bytes(Bytes(wanted)) + " does not fit into the " +
                      format_bytes(available) + " of memory that are free",
                  "cpu",
                  "use a smaller train.batch (with more train.micro_batches) or a smaller model");
    void* data = mmap(nullptr, static_cast<std::size_t>(wanted), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
      return tl::unexpected(
          system_error(errno, "allocating " + format_bytes(Bytes(wanted)), "cpu"));
    if (wanted >= kHugePage) {
      madvise(data, static_cast<std::size_t>(wanted), MADV_HUGEPAGE);
      populate(static_cast<std::byte*>(data), wanted);
    }
    return Buffer(this, static_cast<std::byte*>(data), Bytes(wanted));
  }

  Stream& compute() override { return compute_; }
  Result<std::unique_ptr<Stream>> make_stream() override {
    try {
      return std::make_unique<QueueStream>();
    } catch (const std::system_error& error) {
      return fail(ErrorCode::unsupported,
                  std::string("the machine grants no further thread: ") + error.what(), "cpu");
    }
  }

  Result<std::unique_ptr<Kernel>> make_kernel(const KernelSpec& spec) override {
    const KernelFactory factory = cpu_kernels().find(spec.name);
    if (factory == nullptr)
      return fail(ErrorCode::unsupported, "the CPU has no kernel '" + std::string(spec.name) + "'",
                  "cpu");
    return factory(spec);
  }
  Bytes scratch_size(const Kernel& kernel) const override { return kernel.scratch(pool_.size()); }

  void launch(Stream& stream, const Kernel& kernel, const std::byte* const* inputs,
              std::byte* const* outputs, std::byte* scratch, double flops) override {
    run(stream, [=, this, &kernel] {
      pool_.begin_work(flops);
      kernel.run({inputs, outputs, scratch, pool_});
      pool_.end_work();
    });
  }
  void set_pacer(Pacer* pacer) override { pool_.set_pacer(pacer); }

  void copy(Stream& stream, void* to, const void* from, Bytes size) override {
    in_pieces(stream, size, [=](std::int64_t begin, std::size_t length) {
      std::memcpy(static_cast<std::byte*>(to) + begin, static_cast<const std::byte*>(from) + begin,
                  length);
    });
  }
  void fill_zero(Stream& stream, void* to, Bytes size) override {
    in_pieces(stream, size, [=](std::int64_t begin, std::size_t length) {
      std::memset(static_cast<std::byte*>(to) + begin, 0, length);
    });
  }

  Event record(Stream& stream) override {
    if (dynamic_cast<InlineStream*>(&stream)) return {};
    auto flag = std::make_shared<Flag>();
    run(stream, [flag] { flag->raise(); });
    return {flag};
  }
  void wait(Stream& stream, const Event& event) override {
    if (event.state) run(stream, [event] { flag_of(event)->wait(); });
  }
  bool reached(const Event& event) const override { return !event.state || flag_of(event)->get(); }
  void synchronize(const Event& event) override {
    if (event.state) flag_of(event)->wait();
  }
  void synchronize(Stream& stream) override { synchronize(record(stream)); }

 protected:
  void release(std::byte* data, Bytes size) override {
    munmap(data, static_cast<std::size_t>(size.value()));
  }

 private:
  // The memory that is free, 0 if unknown. Reading it costs more than a small buffer does: what was
  // read stays good until a sixteenth of it has been given out.
  Bytes available_for(Bytes wanted) {
    given_out_ += wanted;
    if (given_out_ > Bytes(available_.value() / 16)) {
      available_ = memory_info().available;
      given_out_ = wanted;
    }
    return available_;
  }

  // Has all threads take the pages at once: taken one by one, as kernels first touch them, they cost
  // a model's first step half as much again. A kernel without this call (before Linux 5.14) declines.
  void populate(std::byte* data, std::int64_t size) {
    pool_.parallel_for((size + kPopulated - 1) / kPopulated, [&](std::int64_t piece, int) {
      const std::int64_t begin = piece * kPopulated;
      madvise(data + begin, static_cast<std::size_t>(std::min(kPopulated, size - begin)), MADV_POPULATE_WRITE);
    });
  }

  // Kernels use the pool, which serves one thread: they belong on the compute stream.
  template <typename Job>
  void run(Stream& stream, Job job) {
    if (auto* queue = dynamic_cast<QueueStream*>(&stream)) {
      queue->push(std::move(job));
    } else {
      job();
    }
  }

  // Calls job(begin, length) for pieces of [0, size): by the pool on the compute stream.
  template <typename Job>
  void in_pieces(Stream& stream, Bytes size, Job job) {
    if (&stream != &compute_)
      return run(stream, [=] { job(0, static_cast<std::size_t>(size.value())); });
    pool_.parallel_for((size.value() + kPiece - 1) / kPiece, [&](std::int64_t piece, int) {
      const std::int64_t begin = piece * kPiece;
      job(begin, static_cast<std::size_t>(std::min(kPiece, size.value() - begin)));
    });
  }

  ThreadPool pool_;
  InlineStream compute_;
  Bytes available_, given_out_;
};

}  // namespace

std::unique_ptr<Device> make_cpu_device(int threads) {
  return std::make_unique<CpuDevice>(threads);
}

}  // namespace suanli::engine
