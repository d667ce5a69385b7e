// One place that computes: memory, streams of work, events between them, and kernels. The CPU is the first; a GPU fits the
// same interface. Work on one stream runs in order; streams are ordered among each other only by events.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "suanli/base/error.h"
#include "suanli/base/units.h"
#include "suanli/engine/kernel.h"

namespace suanli::engine {

class Device;

// Device memory, freed on destruction. 64-byte aligned at least.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Device* device, std::byte* data, Bytes size) : device_(device), data_(data), size_(size) {}
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept { swap(other); return *this; }
  ~Buffer();
  std::byte* data() const { return data_; }
  Bytes size() const { return size_; }

 private:
  void swap(Buffer& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }
  Device* device_ = nullptr;
  std::byte* data_ = nullptr;
  Bytes size_{};
};

// A point in a stream's work. Copies share the point. Default: already reached.
struct Event {
  std::shared_ptr<void> state;
};

class Stream {
 public:
  virtual ~Stream() = default;
};

class Device {
 public:
  virtual ~Device() = default;
  virtual std::string name() const = 0;

  // All zeros. Error no_memory if the device has not that much.
  virtual Result<Buffer> allocate(Bytes size) = 0;

  // The stream on which kernels run, and further ones for copies beside them.
  virtual Stream& compute() = 0;
  virtual Result<std::unique_ptr<Stream>> make_stream() = 0;

  virtual Result<std::unique_ptr<Kernel>> make_kernel(const KernelSpec& spec) = 0;
  virtual Bytes scratch_size(const Kernel& kernel) const = 0;
  // Queues a run of the kernel, which stands for `flops`. All buffers must stay until the stream has passed it.
  virtual void launch(Stream& stream, const Kernel& kernel, const std::byte* const* inputs,
                      std::byte* const* outputs, std::byte* scratch, double flops) = 0;
  // Asked before every piece of work from now on (a rate cap), or null. The pacer outlives its use.
  virtual void set_pacer(Pacer* pacer) = 0;

  // Queued copies between device memory and device or host memory (either side may be either).
  virtual void copy(Stream& stream, void* to, const void* from, Bytes size) = 0;
  virtual void fill_zero(Stream& stream, void* to, Bytes size) = 0;

  virtual Event record(Stream& stream) = 0;
  virtual void wait(Stream& stream, const Event& event) = 0;  // the stream waits
  virtual bool reached(const Event& event) const = 0;
  virtual void synchronize(const Event& event) = 0;           // the caller waits
  virtual void synchronize(Stream& stream) = 0;

 protected:
  friend class Buffer;
  virtual void release(std::byte* data, Bytes size) = 0;
};

// Kernels run in the calling thread with the help of a pool of `threads`; further streams are threads of their own.
std::unique_ptr<Device> make_cpu_device(int threads);

}  // namespace suanli::engine
