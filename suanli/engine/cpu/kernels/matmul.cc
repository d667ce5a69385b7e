// matmul{ta, tb}: [..., M, K] x [..., K, N] -> [..., M, N]; ta: A is given as [..., K, M], tb: B as [..., N, K].
// bf16 products run on our own AMX kernel where that can (amx_matmul.h), all others on oneDNN tiles (onednn_matmul.h).
#include <algorithm>

#include "suanli/engine/cpu/amx.h"
#include "suanli/engine/cpu/amx_matmul.h"
#include "suanli/engine/cpu/epilogue.h"
#include "suanli/engine/cpu/onednn_matmul.h"
#include "suanli/engine/cpu/scratch_layout.h"
#include "suanli/engine/kernel.h"

namespace suanli::engine {
namespace {

// A product over K = 0: zeros through the epilogue.
class EmptySum final : public Kernel {
 public:
  EmptySum(std::int64_t rows, std::int64_t columns, Epilogue epilogue)
      : rows_(rows), columns_(columns), epilogue_(std::move(epilogue)) {
    zeros_at_ = layout_.add(columns * static_cast<std::int64_t>(sizeof(float)));
    epilogue_at_ = layout_.add(epilogue_.scratch());
  }
  void run(const KernelArgs& args) const override {
    float* zeros = reinterpret_cast<float*>(args.scratch + zeros_at_);
    std::fill_n(zeros, columns_, 0.0F);
    epilogue_.run({args.inputs + 2, args.outputs}, {zeros, 0, 0, rows_, 0, columns_}, args.scratch + epilogue_at_);
  }
  Bytes scratch(int) const override { return layout_.size(); }
  bool in_place(int input, int output) const override { return epilogue_.in_place(input, 2, output); }
  std::string implementation() const override { return "fill"; }

 private:
  std::int64_t rows_, columns_;
  Epilogue epilogue_;
  ScratchLayout layout_;
  std::int64_t zeros_at_ = 0, epilogue_at_ = 0;
};

// A product and, apart from it, the column sums of its second operand.
class WithSums final : public Kernel {
 public:
  WithSums(std::unique_ptr<Kernel> product, std::unique_ptr<Kernel> sums, std::size_t sums_output)
      : product_(std::move(product)), sums_(std::move(sums)), sums_output_(sums_output) {}
  void run(const KernelArgs& args) const override {
    product_->run(args);
    sums_->run({args.inputs + 1, args.outputs + sums_output_, args.scratch, args.pool});
  }
  Bytes scratch(int workers) const override { return std::max(product_->scratch(workers), sums_->scratch(workers)); }
  bool in_place(int input, int output) const override { return product_->in_place(input, output); }
  std::string implementation() const override { return product_->implementation() + "; sums: " + sums_->implementation(); }

 private:
  std::unique_ptr<Kernel> product_, sums_;
  std::size_t sums_output_;
};

Result<std::unique_ptr<Kernel>> make_sums(const KernelSpec& spec) {
  const std::vector<std::int64_t> shape = {spec.inputs[1].shape[1]};
  const KernelSpec sums{.name = "reduce_to",
                        .inputs = {spec.inputs[1]},
                        .outputs = {spec.outputs.back()},
                        .attrs = {{"shape", shape}}};
  return cpu_kernels().find("reduce_to")(sums);
}

// Shapes of operands and product; the outputs may be any that an epilogue makes.
Result<MatmulShape> shape_of(const KernelSpec& spec) {
  SUANLI_CHECK(spec.inputs.size() >= 2 && !spec.outputs.empty());
  const graph::TensorType& a = spec.inputs[0];
  const graph::TensorType& b = spec.inputs[1];
  const std::size_t rank = a.shape.size();
  SUANLI_CHECK(rank >= 2 && b.shape.size() == rank);
  if (!graph::is_float(a.dtype) || !graph::is_float(b.dtype))
    return fail(ErrorCode::unsupported,
                "matmul of " + a.to_string() + " and " + b.to_string() + " into " + spec.outputs[0].to_string() +
                    " has no kernel",
                "matmul", "give operands in f32 or bf16");
  MatmulShape shape{.ta = spec.attrs.integer("ta", 0) != 0,
                    .tb = spec.attrs.integer("tb", 0) != 0,
                    .column_sums = spec.attrs.integer("column_sums", 0) != 0};
  shape.m = a.shape[shape.ta ? rank - 1 : rank - 2];
  shape.k = a.shape[shape.ta ? rank - 2 : rank - 1];
  shape.n = b.shape[shape.tb ? rank - 2 : rank - 1];
  SUANLI_CHECK(b.shape[shape.tb ? rank - 1 : rank - 2] == shape.k);
  for (std::size_t i = 0; i + 2 < rank; ++i) shape.batch *= a.shape[i];
  return shape;
}

Result<std::unique_ptr<Kernel>> make_matmul(const KernelSpec& spec) {
  SUANLI_ASSIGN_OR_RETURN(const MatmulShape shape, shape_of(spec));
  if (rounds_to_bf16(spec) && amx::available() && shape.batch == 1 && !shape.empty())
    return make_amx_matmul(spec, shape);
  std::unique_ptr<Kernel> product;
  if (shape.empty()) {
    product = std::make_unique<EmptySum>(shape.batch * shape.m, shape.n, make_epilogue(spec, shape.n));
  } else {
    SUANLI_ASSIGN_OR_RETURN(product, make_onednn_matmul(spec, shape));
  }
  if (!shape.column_sums) return product;
  SUANLI_ASSIGN_OR_RETURN(std::unique_ptr<Kernel> sums, make_sums(spec));
  return std::make_unique<WithSums>(std::move(product), std::move(sums), spec.outputs.size() - 1);
}

}  // namespace

void register_matmul(KernelTable& table) { table.add("matmul", make_matmul); }

}  // namespace suanli::engine
