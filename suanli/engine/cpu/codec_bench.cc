// How fast the codecs are on one core, beside memcpy of the same f32 bytes in the same run.
//
//   codec_bench [--bytes N] [--tile N] [--threads N] [--no-fail]
//
// Prints GB/s of f32 input (of encoding) or output (of decoding): the best of many rounds, since other work on the machine can
// only slow a round down. Exits with 1 if encoding or decoding by tiles is below 2 GB/s per thread.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "suanli/base/clock.h"
#include "suanli/base/philox.h"
#include "suanli/engine/device.h"
#include "suanli/graph/op.h"

namespace suanli::engine {
namespace {

constexpr double kBar = 2e9;
constexpr int kRounds = 40;

struct Options {
  std::int64_t bytes = std::int64_t{8} << 20, tile = 128;
  int threads = 1;
  bool fails = true;
};

class CodecBench {
 public:
  explicit CodecBench(const Options& options)
      : options_(options), elements_(options.bytes / 4), device_(make_cpu_device(options.threads)) {
    const Philox random(1, suanli::Stream::test);
    for (Buffer* buffer : {&x_, &m_, &y_}) *buffer = *device_->allocate(Bytes(elements_ * 4));
    packed_ = *device_->allocate(Bytes(elements_ * 8));
    key_ = *device_->allocate(Bytes(64));
    for (std::int64_t i = 0; i < elements_; ++i) {
      floats(x_)[i] = static_cast<float>(random.normal(static_cast<std::uint64_t>(i)));
      floats(m_)[i] = floats(x_)[i] * 0.9F;
    }
  }

  bool run() {
    std::printf("%lld bytes of f32, tiles of %lld, %d thread(s); GB/s\n\n", static_cast<long long>(options_.bytes),
                static_cast<long long>(options_.tile), options_.threads);
    std::printf("%-36s %8.2f\n\n", "memcpy (one thread)", best([&] {
      std::memcpy(y_.data(), x_.data(), static_cast<std::size_t>(options_.bytes));
    }) / 1e9);
    std::printf("%-36s %8s %8s %8s %8s %8s\n", "bits", "2", "3", "4", "6", "8");
    row("quantize_tiles", {}, {&x_}, &packed_);
    row("dequantize_tiles", {{"shape", shape()}}, {&packed_}, &y_);
    row("quantize_delta (AQ-SGD, sends)", {}, {&x_, &m_}, &packed_);
    row("dequantize_add (AQ-SGD, both)", {}, {&packed_, &m_}, &y_);
    row("quantize_tiles_stochastic", {{"stream", std::int64_t{1}}}, {&x_, &key_}, &packed_);
    const graph::Attrs transform = {{"transform", std::string("hadamard")}};
    row("quantize_tiles, hadamard", transform, {&x_}, &packed_);
    row("dequantize_tiles, hadamard", {{"shape", shape()}, {"transform", std::string("hadamard")}}, {&packed_}, &y_);
    row("quantize_delta, hadamard", transform, {&x_, &m_}, &packed_);
    row("dequantize_add, hadamard", transform, {&packed_, &m_}, &y_);
    row("quantize_tiles_stochastic, hadamard", {{"stream", std::int64_t{1}}, {"transform", std::string("hadamard")}},
        {&x_, &key_}, &packed_);
    top_k();
    return !missed_;
  }

 private:
  static float* floats(Buffer& buffer) { return reinterpret_cast<float*>(buffer.data()); }
  graph::Shape shape() const { return {elements_ / 4096, 4096}; }

  double best(const std::function<void()>& work) const {
    double least = 1e9;
    for (int round = 0; round < kRounds; ++round) {
      const double start = real_clock().now().value();
      work();
      least = std::min(least, real_clock().now().value() - start);
    }
    return static_cast<double>(options_.bytes) / least;
  }

  graph::TensorType type_of(const Buffer* buffer, const graph::Attrs& attrs) const {
    if (buffer == &key_) return graph::i32({4});
    if (buffer != &packed_) return graph::f32(shape());
    const graph::TensorType unpacked = graph::f32(shape());
    return *graph::op("quantize_tiles").infer({&unpacked, 1}, {{"bits", attrs.integer("bits")}, {"tile", attrs.integer("tile")}});
  }

  double rate(const std::string& name, const graph::Attrs& attrs, const std::vector<Buffer*>& inputs, Buffer* out) {
    KernelSpec spec{.name = name, .inputs = {}, .outputs = {}, .attrs = attrs};
    for (const Buffer* buffer : inputs) spec.inputs.push_back(type_of(buffer, attrs));
    spec.outputs = {*graph::op(name).infer(spec.inputs, attrs)};
    const auto kernel = device_->make_kernel(spec);
    SUANLI_CHECK(kernel.has_value());
    const Buffer scratch = *device_->allocate(device_->scratch_size(**kernel));
    std::vector<const std::byte*> in;
    for (const Buffer* buffer : inputs) in.push_back(buffer->data());
    std::byte* to[] = {out->data()};
    return best([&] { device_->launch(device_->compute(), **kernel, in.data(), to, scratch.data(), 1); });
  }

  void row(const std::string& title, const graph::Attrs& more, const std::vector<Buffer*>& inputs, Buffer* out) {
    const std::string name = title.substr(0, title.find_first_of(" ,"));
    std::printf("%-36s", title.c_str());
    for (const std::int64_t bits : {2, 3, 4, 6, 8}) {
      graph::Attrs attrs = more;
      attrs.set("bits", bits);
      attrs.set("tile", options_.tile);
      if (inputs[0] == &packed_) {  // what a decoder reads is what an encoder of the same numbers made
        graph::Attrs made = {{"bits", bits}, {"tile", options_.tile}};
        if (const std::string* word = more.find_word("transform")) made.set("transform", *word);
        rate("quantize_tiles", made, {&x_}, &packed_);
      }
      const double speed = rate(name, attrs, inputs, out);
      missed_ = missed_ || speed < kBar * options_.threads;
      std::printf(" %8.2f", speed / 1e9);
      std::fflush(stdout);
    }
    std::printf("\n");
  }

  void top_k() {
    const std::int64_t k = elements_ / 64;
    const double pack = rate("top_k_pack", {{"k", k}}, {&x_}, &packed_);
    KernelSpec spec{.name = "top_k_unpack",
                    .inputs = {{graph::DType::u8, {8 * k}}},
                    .outputs = {graph::f32(shape())},
                    .attrs = {{"shape", shape()}}};
    const auto kernel = device_->make_kernel(spec);
    SUANLI_CHECK(kernel.has_value());
    const std::byte* in[] = {packed_.data()};
    std::byte* to[] = {y_.data()};
    const double unpack = best([&] { device_->launch(device_->compute(), **kernel, in, to, nullptr, 1); });
    std::printf("\n%-36s %8.2f\n%-36s %8.2f\n", "top_k_pack, one of 64", pack / 1e9, "top_k_unpack, one of 64", unpack / 1e9);
  }

  Options options_;
  std::int64_t elements_;
  std::unique_ptr<Device> device_;
  Buffer x_, m_, y_, packed_, key_;
  bool missed_ = false;
};

int run(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const auto number = [&] { return i + 1 < argc ? std::atoll(argv[++i]) : 0; };
    if (word == "--bytes") options.bytes = std::max<std::int64_t>(16384, number() / 16384 * 16384);
    else if (word == "--tile") options.tile = number();
    else if (word == "--threads") options.threads = static_cast<int>(std::max<std::int64_t>(1, number()));
    else if (word == "--no-fail") options.fails = false;
    else return std::fprintf(stderr, "codec_bench [--bytes N] [--tile N] [--threads N] [--no-fail]\n"), 2;
  }
  const bool met = CodecBench(options).run();
  if (!met) std::printf("\nbelow %.0f GB/s per thread\n", kBar / 1e9);
  return met || !options.fails ? 0 : 1;
}

}  // namespace
}  // namespace suanli::engine

int main(int argc, char** argv) { return suanli::engine::run(argc, argv); }
