// Ops that move elements: any element type.
#include <cstring>

#include "suanli/engine/cpu/kernel_support.h"
#include "suanli/engine/cpu/strided_copy.h"

namespace suanli::engine {
namespace {

using graph::Shape;

std::int64_t element_size(const graph::TensorType& type) {
  return graph::size_of(type.dtype).value();
}

bool moves_one(const KernelSpec& spec) {
  return spec.inputs.size() == 1 && spec.outputs.size() == 1 &&
         spec.inputs[0].dtype == spec.outputs[0].dtype;
}

std::unique_ptr<Kernel> copying(StridedCopy copy, std::int64_t from_offset_bytes = 0) {
  return simple_kernel("strided copy", [copy, from_offset_bytes](const KernelArgs& args) {
    copy.run(args.inputs[0] + from_offset_bytes, args.outputs[0], args.pool);
  });
}

Result<std::unique_ptr<Kernel>> make_broadcast(const KernelSpec& spec) {
  if (!moves_one(spec)) return unsupported(spec);
  const Shape& large = spec.outputs[0].shape;
  return copying({large, broadcast_strides(spec.inputs[0].shape, large), dense_strides(large),
                  element_size(spec.inputs[0])});
}

// reshape and micro_sum are the same bytes again; programs that can, share the buffer instead.
Result<std::unique_ptr<Kernel>> make_copy(const KernelSpec& spec) {
  if (!moves_one(spec)) return unsupported(spec);
  return copying({{spec.inputs[0].elements()}, {1}, {1}, element_size(spec.inputs[0])});
}

Result<std::unique_ptr<Kernel>> make_transpose(const KernelSpec& spec) {
  if (!moves_one(spec)) return unsupported(spec);
  const Shape strides = dense_strides(spec.inputs[0].shape);
  Shape from;
  for (const std::int64_t axis : spec.attrs.list("permutation")) from.push_back(strides.at(axis));
  const Shape& shape = spec.outputs[0].shape;
  return copying({shape, from, dense_strides(shape), element_size(spec.inputs[0])});
}

Result<std::unique_ptr<Kernel>> make_slice(const KernelSpec& spec) {
  if (!moves_one(spec)) return unsupported(spec);
  const Shape strides = dense_strides(spec.inputs[0].shape);
  const Shape& shape = spec.outputs[0].shape;
  const std::int64_t size = element_size(spec.inputs[0]);
  const std::int64_t offset = spec.attrs.integer("start") * strides.at(spec.attrs.integer("axis"));
  return copying({shape, strides, dense_strides(shape), size}, offset * size);
}

Result<std::unique_ptr<Kernel>> make_pad(const KernelSpec& spec) {
  if (!moves_one(spec)) return unsupported(spec);
  const Shape& shape = spec.inputs[0].shape;
  const Shape strides = dense_strides(spec.outputs[0].shape);
  const std::int64_t size = element_size(spec.inputs[0]);
  const std::int64_t offset =
      size * spec.attrs.integer("before") * strides.at(spec.attrs.integer("axis"));
  const StridedCopy copy(shape, dense_strides(shape), strides, size);
  const std::int64_t bytes = spec.outputs[0].bytes().value();
  return simple_kernel("strided copy", [copy, offset, bytes](const KernelArgs& args) {
    parallel_ranges(args.pool, bytes, 65536, [&](std::int64_t begin, std::int64_t end, int) {
      std::memset(args.outputs[0] + begin, 0, static_cast<std::size_t>(end - begin));
    });
    copy.run(args.inputs[0], args.outputs[0] + offset, args.pool);
  });
}

}  // namespace

void register_shape(KernelTable& table) {
  table.add("broadcast_to", make_broadcast);
  table.add("reshape", make_copy);
  table.add("micro_sum", make_copy);
  table.add("transpose", make_transpose);
  table.add("slice", make_slice);
  table.add("pad", make_pad);
}

}  // namespace suanli::engine
