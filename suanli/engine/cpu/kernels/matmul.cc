// matmul{ta, tb}: [..., M, K] x [..., K, N] -> [..., M, N]; ta: A is given as [..., K, M], tb: B as [..., N, K].
// bf16 products run on our own AMX kernel where that can (amx_matmul.h), all others on oneDNN tiles (onednn_matmul.h).
#include <algorithm>

#include "suanli/engine/cpu/amx.h"
#include "suanli/engine/cpu/amx_matmul.h"
#include "suanli/engine/cpu/column_sums.h"
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

Result<std::unique_ptr<Kernel>> make_matmul(const KernelSpec& spec) {
  const MatmulShape shape = matmul_shape(spec);
  const graph::TensorType &a = spec.inputs[0], &b = spec.inputs[1];
  if (!graph::is_float(a.dtype) || !graph::is_float(b.dtype))
    return fail(ErrorCode::unsupported,
                "matmul of " + a.to_string() + " and " + b.to_string() + " into " + spec.outputs[0].to_string() +
                    " has no kernel",
                "matmul", "give operands in f32 or bf16");
  if (rounds_to_bf16(spec) && amx::available() && shape.batch == 1 && !shape.empty())
    return make_amx_matmul(spec, shape);
  std::unique_ptr<Kernel> product;
  if (shape.empty()) {
    product = std::make_unique<EmptySum>(shape.batch * shape.m, shape.n, make_epilogue(spec, shape.n));
  } else {
    SUANLI_ASSIGN_OR_RETURN(product, make_onednn_matmul(spec, shape));
  }
  if (!shape.column_sums) return product;
  return with_column_sums(std::move(product), spec);
}

}  // namespace

void register_matmul(KernelTable& table) { table.add("matmul", make_matmul); }

}  // namespace suanli::engine
