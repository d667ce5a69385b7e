// Elementwise ops that stand alone: each is a region of one instruction. What a region cannot
// express (a broadcast in the middle of the shape) is repeated into scratch first. With attr exact = 1 the region is exact.
#include <cstddef>

#include "suanli/engine/cpu/kernel_support.h"
#include "suanli/engine/cpu/region_kernel.h"
#include "suanli/engine/cpu/strided_copy.h"

namespace suanli::engine {
namespace {

using graph::DType;
using graph::Shape;

bool is_exact(const KernelSpec& spec) { return spec.attrs.integer("exact", 0) != 0; }

// How a region of shape `large` reads an input of shape `small`, or nothing if it cannot.
std::optional<Access> access_of(const Shape& small, const Shape& large) {
  if (graph::element_count(small) == graph::element_count(large)) return Access::full;
  if (graph::element_count(small) == 1) return Access::scalar;
  Shape trimmed = small;
  while (!trimmed.empty() && trimmed.front() == 1) trimmed.erase(trimmed.begin());
  if (trimmed.size() <= large.size() &&
      std::equal(trimmed.rbegin(), trimmed.rend(), large.rbegin()))
    return Access::periodic;
  Shape row = large;
  row.back() = 1;
  return small == row ? std::optional(Access::row) : std::nullopt;
}

class BroadcastKernel final : public Kernel {
 public:
  BroadcastKernel(std::unique_ptr<Kernel> inner, const graph::TensorType& small,
                  const graph::TensorType& large)
      : inner_(std::move(inner)),
        copy_(large.shape, broadcast_strides(small.shape, large.shape), dense_strides(large.shape),
              graph::size_of(small.dtype).value()),
        copy_bytes_(divide_up(large.bytes().value(), 64) * 64) {}

  void run(const KernelArgs& args) const override {
    copy_.run(args.inputs[1], args.scratch, args.pool);
    const std::byte* inputs[2] = {args.inputs[0], args.scratch};
    inner_->run({inputs, args.outputs, args.scratch + copy_bytes_, args.pool});
  }
  Bytes scratch(int workers) const override {
    return inner_->scratch(workers) + Bytes(copy_bytes_);
  }
  std::string implementation() const override {
    return inner_->implementation() + ", input 1 repeated first";
  }
  bool in_place(int in, int out) const override { return in == 0 && inner_->in_place(in, out); }

 private:
  std::unique_ptr<Kernel> inner_;
  StridedCopy copy_;
  std::int64_t copy_bytes_;
};

Result<std::unique_ptr<Kernel>> make_binary(const KernelSpec& spec) {
  // Lowering hands the first operand of gelu's gradient over in bf16.
  const DType first = spec.inputs[0].dtype;
  if (!has_dtypes(spec, {first, DType::f32}, {DType::f32}) || !graph::is_float(first)) return unsupported(spec);
  const graph::TensorType& a = spec.inputs[0];
  const graph::TensorType& b = spec.inputs[1];
  const std::optional<Access> access = access_of(b.shape, a.shape);
  Region region{
      .shape = a.shape,
      .inputs = {{first, Access::full, a.elements()},
                 {DType::f32, access.value_or(Access::full), access ? b.elements() : a.elements()}},
      .code = {{*region_op_from_name(spec.name), 0, 1}},
      .outputs = {{2, DType::f32}},
      .exact = is_exact(spec)};
  std::unique_ptr<Kernel> kernel = make_region_kernel(region);
  if (access) return kernel;
  return std::make_unique<BroadcastKernel>(std::move(kernel), b, a);
}

Result<std::unique_ptr<Kernel>> make_unary(const KernelSpec& spec) {
  const DType dtype = spec.inputs[0].dtype;
  if (!has_dtypes(spec, {dtype}, {DType::f32}) || !graph::is_float(dtype)) return unsupported(spec);
  RegionInstruction step{*region_op_from_name(spec.name)};
  if (step.op == RegionOp::scale) step.immediate = static_cast<float>(spec.attrs.real("factor"));
  if (step.op == RegionOp::shift) step.immediate = static_cast<float>(spec.attrs.real("offset"));
  return make_region_kernel({.shape = spec.inputs[0].shape,
                             .inputs = {{dtype, Access::full, spec.inputs[0].elements()}},
                             .code = {step},
                             .outputs = {{1, DType::f32}},
                             .exact = is_exact(spec)});
}

Result<std::unique_ptr<Kernel>> make_cast(const KernelSpec& spec) {
  const std::int64_t n = spec.inputs.at(0).elements();
  if (has_dtypes(spec, {DType::i32}, {DType::f32}))
    return simple_kernel("scalar", [n](const KernelArgs& args) {
      parallel_ranges(args.pool, n, 16384, [&](std::int64_t begin, std::int64_t end, int) {
        convert(input<std::int32_t>(args, 0) + begin, output<float>(args, 0) + begin, end - begin);
      });
    });
  const auto is_real = [](DType dtype) { return dtype == DType::f32 || dtype == DType::bf16; };
  if (!is_real(spec.inputs[0].dtype) || !is_real(spec.outputs.at(0).dtype))
    return unsupported(spec);
  return make_region_kernel({.shape = spec.inputs[0].shape,
                             .inputs = {{spec.inputs[0].dtype, Access::full, n}},
                             .code = {},
                             .outputs = {{0, spec.outputs[0].dtype}},
                             .exact = is_exact(spec)});
}

}  // namespace

void register_elementwise(KernelTable& table) {
  for (const char* name :
       {"add", "sub", "mul", "div", "minimum", "maximum", "greater", "equal", "gelu_grad"})
    table.add(name, make_binary);
  for (const char* name : {"scale", "shift", "exp", "log", "sqrt", "rsqrt", "tanh", "gelu"})
    table.add(name, make_unary);
  table.add("cast", make_cast);
}

}  // namespace suanli::engine
