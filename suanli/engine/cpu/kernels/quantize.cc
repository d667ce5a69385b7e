// The tile codec's ops (graph/ops/quantize.cc): tasks of whole tiles, so that the bytes do not depend on threads.
#include "suanli/engine/cpu/kernel_support.h"
#include "suanli/engine/cpu/tile_codec.h"
#include "suanli/graph/op.h"

namespace suanli::engine {
namespace {

using graph::DType;

constexpr std::int64_t kGrain = 16384;  // elements of a task

graph::TileLayout layout_of(const KernelSpec& spec, const graph::TensorType& unpacked) {
  return graph::tile_layout(unpacked.shape, static_cast<int>(spec.attrs.integer("bits")), spec.attrs.integer("tile"));
}

bool has_transform(const KernelSpec& spec) {
  const std::string* word = spec.attrs.find_word("transform");
  return word != nullptr && *word == "hadamard";
}

template <typename Task>
void parallel_tiles(ThreadPool& pool, const graph::TileLayout& layout, const Task& task) {
  const std::int64_t grain = std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(1, std::min(layout.tile, layout.columns)));
  parallel_ranges(pool, layout.tiles(), grain, [&](std::int64_t begin, std::int64_t end, int) { task(begin, end); });
}

// `minus` and `key` are input indices, -1 if the op has none.
std::unique_ptr<Kernel> make_encoder(const KernelSpec& spec, int minus, int key) {
  EncodeTiles call{.layout = layout_of(spec, spec.inputs[0]), .transform = has_transform(spec)};
  call.stream = static_cast<std::uint32_t>(spec.attrs.integer("stream", 0));
  return simple_kernel("hwy:" + simd_name(), [=](const KernelArgs& args) {
    EncodeTiles now = call;
    now.x = input<float>(args, 0);
    if (minus >= 0) now.minus = input<float>(args, minus);
    if (key >= 0) now.key = input<std::uint32_t>(args, key);
    now.packed = output<std::byte>(args, 0);
    parallel_tiles(args.pool, now.layout, [&](std::int64_t begin, std::int64_t end) { encode_tiles(now, begin, end); });
  });
}

Result<std::unique_ptr<Kernel>> make_quantize(const KernelSpec& spec) {
  if (!has_dtypes(spec, {DType::f32}, {DType::u8})) return unsupported(spec);
  return make_encoder(spec, -1, -1);
}

Result<std::unique_ptr<Kernel>> make_stochastic(const KernelSpec& spec) {
  if (!has_dtypes(spec, {DType::f32, DType::i32}, {DType::u8})) return unsupported(spec);
  return make_encoder(spec, -1, 1);
}

Result<std::unique_ptr<Kernel>> make_delta(const KernelSpec& spec) {
  if (!has_dtypes(spec, {DType::f32, DType::f32}, {DType::u8})) return unsupported(spec);
  return make_encoder(spec, 1, -1);
}

// A buffer may take its next value in place: each element is read before it is written.
class Decoder final : public Kernel {
 public:
  Decoder(const KernelSpec& spec, bool adds)
      : call_{.layout = layout_of(spec, spec.outputs[0]), .transform = has_transform(spec)}, adds_(adds) {}

  void run(const KernelArgs& args) const override {
    DecodeTiles now = call_;
    now.packed = input<std::byte>(args, 0);
    if (adds_) now.plus = input<float>(args, 1);
    now.out = output<float>(args, 0);
    parallel_tiles(args.pool, now.layout, [&](std::int64_t begin, std::int64_t end) { decode_tiles(now, begin, end); });
  }
  std::string implementation() const override { return "hwy:" + simd_name(); }
  bool in_place(int in, int out) const override { return adds_ && in == 1 && out == 0; }

 private:
  DecodeTiles call_;
  bool adds_;
};

Result<std::unique_ptr<Kernel>> make_dequantize(const KernelSpec& spec) {
  if (!has_dtypes(spec, {DType::u8}, {DType::f32})) return unsupported(spec);
  return std::make_unique<Decoder>(spec, false);
}

Result<std::unique_ptr<Kernel>> make_add(const KernelSpec& spec) {
  if (!has_dtypes(spec, {DType::u8, DType::f32}, {DType::f32})) return unsupported(spec);
  return std::make_unique<Decoder>(spec, true);
}

}  // namespace

void register_quantize(KernelTable& table) {
  table.add("quantize_tiles", make_quantize);
  table.add("quantize_tiles_stochastic", make_stochastic);
  table.add("quantize_delta", make_delta);
  table.add("dequantize_tiles", make_dequantize);
  table.add("dequantize_add", make_add);
}

}  // namespace suanli::engine
