#include "suanli/engine/cpu/onednn_attention.h"

#include <cstring>
#include <optional>
#include <vector>

#include "suanli/engine/cpu/attention_rows.h"
#include "suanli/engine/cpu/onednn.h"
#include "suanli/engine/cpu/scratch_layout.h"

namespace suanli::engine {
namespace {

constexpr std::int64_t kFloat = sizeof(float);

class OneDnnAttention final : public Kernel {
 public:
  OneDnnAttention(const AttentionShape& shape, AttentionOutputs outputs, std::optional<Epilogue> epilogue)
      : shape_(shape), blocks_(query_blocks(shape)), outputs_(outputs), epilogue_(std::move(epilogue)) {}
  Status prepare();

  void run(const KernelArgs& args) const override {
    args.pool.parallel_for(shape_.tasks(), [&](std::int64_t task, int worker) {
      run_task(args, task, args.scratch + worker * layout_.size().value());
    });
  }
  Bytes scratch(int workers) const override { return layout_.size() * std::int64_t{workers}; }
  std::string implementation() const override {
    if (products_.empty()) return "none";
    return products_.front().scores->implementation() + " blocks of " + std::to_string(blocks_.longest()) +
           (epilogue_ ? epilogue_->to_string() : "");
  }

 private:
  struct Products {                          // of a block
    std::shared_ptr<const TileGemm> scores;  // S [rows, extent] = Q K^T
    std::shared_ptr<const TileGemm> mix;     // Y [rows, d] = P V
  };
  void run_task(const KernelArgs& args, std::int64_t task, std::byte* own) const;

  AttentionShape shape_;
  QueryBlocks blocks_;
  AttentionOutputs outputs_;
  std::optional<Epilogue> epilogue_;  // of out
  std::vector<Products> products_;
  ScratchLayout layout_;                         // of one worker
  std::int64_t q_at_ = 0, k_at_ = 0, v_at_ = 0;  // [seq, d]
  std::int64_t scores_at_ = 0;                   // f32 [rows, extent], and P if f32
  std::int64_t rounded_at_ = 0;                  // bf16 [rows, extent]: P
  std::int64_t mixed_at_ = 0;                    // f32 [rows, d]
  std::int64_t tops_at_ = 0, sums_at_ = 0;       // f32 [rows]
  std::int64_t onednn_at_ = 0, epilogue_at_ = 0;
};

Status OneDnnAttention::prepare() {
  const std::int64_t depth = shape_.depth;
  Bytes onednn{};
  if (shape_.batch == 0) return {};
  for (std::int64_t b = 0; b < blocks_.count(); ++b) {
    const std::int64_t rows = blocks_.rows(b), extent = blocks_.extent(b);
    Products products;
    SUANLI_ASSIGN_OR_RETURN(products.scores, TileGemm::make({.m = rows,
                                                             .n = extent,
                                                             .k = depth,
                                                             .operands = shape_.dtype,
                                                             .a_row = depth,
                                                             .b_row = 1,
                                                             .b_column = depth,
                                                             .c_row = extent}));
    SUANLI_ASSIGN_OR_RETURN(
        products.mix,
        TileGemm::make(
            {.m = rows, .n = depth, .k = extent, .operands = shape_.dtype, .a_row = extent, .b_row = depth, .c_row = depth}));
    onednn = std::max({onednn, products.scores->scratch(), products.mix->scratch()});
    products_.push_back(std::move(products));
  }
  const std::int64_t head = shape_.seq * depth * shape_.element();
  const std::int64_t scores = blocks_.longest() * shape_.seq;
  for (std::int64_t* at : {&q_at_, &k_at_, &v_at_}) *at = layout_.add(head);
  scores_at_ = layout_.add(scores * kFloat);
  if (shape_.dtype == graph::DType::bf16) rounded_at_ = layout_.add(scores * shape_.element());
  mixed_at_ = layout_.add(blocks_.longest() * depth * kFloat);
  for (std::int64_t* at : {&tops_at_, &sums_at_}) *at = layout_.add(blocks_.longest() * kFloat);
  onednn_at_ = layout_.add(onednn);
  if (epilogue_) epilogue_at_ = layout_.add(epilogue_->scratch());
  return {};
}

void OneDnnAttention::run_task(const KernelArgs& args, std::int64_t task, std::byte* own) const {
  const std::int64_t depth = shape_.depth;
  const float scale = shape_.scale();
  gather_head(shape_, args.inputs[0], task, 0, own + q_at_);
  gather_head(shape_, args.inputs[0], task, 1, own + k_at_);
  if (outputs_.out) gather_head(shape_, args.inputs[0], task, 2, own + v_at_);
  const auto floats = [&](std::int64_t at) { return reinterpret_cast<float*>(own + at); };
  float *const scores = floats(scores_at_), *const mixed = floats(mixed_at_);
  float *const tops = floats(tops_at_), *const sums = floats(sums_at_);
  Bf16* const rounded = shape_.dtype == graph::DType::bf16 ? reinterpret_cast<Bf16*>(own + rounded_at_) : nullptr;

  for (std::int64_t b = 0; b < blocks_.count(); ++b) {
    const std::int64_t begin = blocks_.begin(b), rows = blocks_.rows(b), extent = blocks_.extent(b);
    const Products& products = products_[static_cast<std::size_t>(b)];
    products.scores->run(own + q_at_ + begin * depth * shape_.element(), own + k_at_, scores, own + onednn_at_);
    for (std::int64_t r = 0; r < rows; ++r) {
      const SoftmaxRow row =
          softmax_row(scores + r * extent, begin + r + 1, extent, scale, rounded != nullptr ? rounded + r * extent : nullptr);
      tops[r] = row.top;
      sums[r] = row.sum;
    }
    if (outputs_.stats >= 0)
      log_sum_row(tops, sums, reinterpret_cast<float*>(args.outputs[outputs_.stats]) + task * shape_.seq + begin, rows);
    if (!outputs_.out) continue;
    products.mix->run(rounded != nullptr ? static_cast<const void*>(rounded) : scores, own + v_at_, mixed, own + onednn_at_);
    for (std::int64_t r = 0; r < rows; ++r) scale_row(mixed + r * depth, 1.0F / sums[r], mixed + r * depth, depth);
    epilogue_->run({args.inputs + 1, args.outputs}, head_piece(shape_, task, 0, begin, rows, mixed, depth),
                   own + epilogue_at_);
  }
}

}  // namespace

QueryBlocks query_blocks(const AttentionShape& shape) {
  // Smaller blocks leave more of the square above the diagonal out; bf16 tiles are fast enough to want larger ones.
  return {.seq = shape.seq, .size = shape.dtype == graph::DType::f32 ? 64 : 128};
}

void gather_head(const AttentionShape& shape, const std::byte* qkv, std::int64_t task, std::int64_t part, std::byte* to) {
  const std::byte* from = qkv + shape.qkv_offset(task, part) * shape.element();
  const std::int64_t row = shape.depth * shape.element(), stride = 3 * shape.width() * shape.element();
  for (std::int64_t t = 0; t < shape.seq; ++t) std::memcpy(to + t * row, from + t * stride, static_cast<std::size_t>(row));
}

Result<std::unique_ptr<Kernel>> make_onednn_attention(const KernelSpec& spec) {
  const AttentionShape shape = attention_shape(spec);
  const AttentionOutputs outputs = attention_outputs(spec, shape);
  std::optional<Epilogue> epilogue;
  if (outputs.out) epilogue = make_epilogue(spec, shape.depth);
  auto kernel = std::make_unique<OneDnnAttention>(shape, outputs, std::move(epilogue));
  SUANLI_RETURN_IF_ERROR(kernel->prepare());
  return kernel;
}

}  // namespace suanli::engine
