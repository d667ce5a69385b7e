// attention_grad on oneDNN tiles. Scores are computed again, transposed (a row per key), which makes P^T and dS^T the plain
// left operands of dV and dK. Blocks of queries run from the last, which sees every key and so writes dK and dV whole, to
// the first; the others add to them, always in this order.
#include <cstring>
#include <vector>

#include "suanli/engine/cpu/attention_rows.h"
#include "suanli/engine/cpu/onednn.h"
#include "suanli/engine/cpu/onednn_attention.h"
#include "suanli/engine/cpu/scratch_layout.h"
#include "suanli/engine/cpu/tile_ops.h"

namespace suanli::engine {
namespace {

constexpr std::int64_t kFloat = sizeof(float);

class OneDnnAttentionGrad final : public Kernel {
 public:
  OneDnnAttentionGrad(const KernelSpec& spec, const AttentionShape& shape)
      : shape_(shape),
        blocks_(query_blocks(shape)),
        y_type_(spec.inputs[1].dtype),
        dy_type_(spec.inputs[3].dtype),
        epilogue_(make_epilogue(spec, shape.depth)) {}
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
           epilogue_.to_string();
  }

 private:
  struct Products {                           // of a block of queries
    std::shared_ptr<const TileGemm> scores;   // S^T [extent, rows] = K Q^T, and dP^T = V dY^T
    std::shared_ptr<const TileGemm> keys;     // dV [extent, d] (+)= P^T dY, and dK (+)= dS^T Q
    std::shared_ptr<const TileGemm> queries;  // dQ [rows, d] = (dS^T)^T K
  };
  struct Buffers {         // of one worker
    std::byte *q, *k, *v;  // [seq, d]
    std::byte* dy;         // [rows, d], in the operands' type
    float *s, *dp;         // S^T, dP^T [extent, rows]
    std::byte *p, *ds;     // P^T, dS^T [extent, rows], in the operands' type
    float *dq, *dk, *dv;   // [rows, d], [seq, d], [seq, d]
    float* delta;          // [rows]
    std::byte *onednn, *epilogue;
  };
  Buffers buffers(std::byte* own) const;
  void run_task(const KernelArgs& args, std::int64_t task, std::byte* own) const;
  void load_block(const KernelArgs& args, std::int64_t task, std::int64_t b, const Buffers& at) const;
  void softmax_grad(const KernelArgs& args, std::int64_t task, std::int64_t b, const Buffers& at) const;
  void store(const KernelArgs& args, std::int64_t task, std::int64_t part, std::int64_t begin, std::int64_t rows,
             const float* data, const Buffers& at) const;

  AttentionShape shape_;
  QueryBlocks blocks_;
  graph::DType y_type_, dy_type_;
  Epilogue epilogue_;
  std::vector<Products> products_;
  ScratchLayout layout_;
  std::int64_t q_at_ = 0, k_at_ = 0, v_at_ = 0, dy_at_ = 0, s_at_ = 0, dp_at_ = 0, p_at_ = 0, ds_at_ = 0, dq_at_ = 0,
               dk_at_ = 0, dv_at_ = 0, delta_at_ = 0, onednn_at_ = 0, epilogue_at_ = 0;
};

Status OneDnnAttentionGrad::prepare() {
  const std::int64_t depth = shape_.depth;
  Bytes onednn{};
  if (shape_.batch == 0) return {};
  for (std::int64_t b = 0; b < blocks_.count(); ++b) {
    const std::int64_t rows = blocks_.rows(b), extent = blocks_.extent(b);
    Products products;
    SUANLI_ASSIGN_OR_RETURN(products.scores, TileGemm::make({.m = extent,
                                                             .n = rows,
                                                             .k = depth,
                                                             .operands = shape_.dtype,
                                                             .a_row = depth,
                                                             .b_row = 1,
                                                             .b_column = depth,
                                                             .c_row = rows}));
    SUANLI_ASSIGN_OR_RETURN(products.keys, TileGemm::make({.m = extent,
                                                           .n = depth,
                                                           .k = rows,
                                                           .operands = shape_.dtype,
                                                           .a_row = rows,
                                                           .b_row = depth,
                                                           .c_row = depth,
                                                           .accumulate = b + 1 < blocks_.count()}));
    SUANLI_ASSIGN_OR_RETURN(products.queries, TileGemm::make({.m = rows,
                                                              .n = depth,
                                                              .k = extent,
                                                              .operands = shape_.dtype,
                                                              .a_row = 1,
                                                              .a_column = rows,
                                                              .b_row = depth,
                                                              .c_row = depth}));
    onednn = std::max({onednn, products.scores->scratch(), products.keys->scratch(), products.queries->scratch()});
    products_.push_back(std::move(products));
  }
  const std::int64_t head = shape_.seq * depth;
  const std::int64_t block_head = blocks_.longest() * depth;
  const std::int64_t scores = blocks_.longest() * shape_.seq;
  for (std::int64_t* at : {&q_at_, &k_at_, &v_at_}) *at = layout_.add(head * shape_.element());
  dy_at_ = layout_.add(block_head * shape_.element());
  for (std::int64_t* at : {&s_at_, &dp_at_}) *at = layout_.add(scores * kFloat);
  p_at_ = s_at_;
  ds_at_ = dp_at_;
  if (shape_.dtype == graph::DType::bf16)
    for (std::int64_t* at : {&p_at_, &ds_at_}) *at = layout_.add(scores * shape_.element());
  dq_at_ = layout_.add(block_head * kFloat);
  for (std::int64_t* at : {&dk_at_, &dv_at_}) *at = layout_.add(head * kFloat);
  delta_at_ = layout_.add(blocks_.longest() * kFloat);
  onednn_at_ = layout_.add(onednn);
  epilogue_at_ = layout_.add(epilogue_.scratch());
  return {};
}

OneDnnAttentionGrad::Buffers OneDnnAttentionGrad::buffers(std::byte* own) const {
  const auto floats = [&](std::int64_t at) { return reinterpret_cast<float*>(own + at); };
  return {.q = own + q_at_,
          .k = own + k_at_,
          .v = own + v_at_,
          .dy = own + dy_at_,
          .s = floats(s_at_),
          .dp = floats(dp_at_),
          .p = own + p_at_,
          .ds = own + ds_at_,
          .dq = floats(dq_at_),
          .dk = floats(dk_at_),
          .dv = floats(dv_at_),
          .delta = floats(delta_at_),
          .onednn = own + onednn_at_,
          .epilogue = own + epilogue_at_};
}

// dY of the block in the operands' type, and delta_i = dy_i y_i.
void OneDnnAttentionGrad::load_block(const KernelArgs& args, std::int64_t task, std::int64_t b, const Buffers& at) const {
  const std::int64_t begin = blocks_.begin(b), rows = blocks_.rows(b), depth = shape_.depth;
  const FloatRows y = head_rows(shape_, task, begin, args.inputs[1], y_type_);
  const FloatRows dy = head_rows(shape_, task, begin, args.inputs[3], dy_type_);
  dot_rows(y, dy, rows, depth, at.delta);
  const std::int64_t from_row = dy.stride * graph::size_of(dy_type_).value(), to_row = depth * shape_.element();
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::byte* from = dy.data + r * from_row;
    std::byte* to = at.dy + r * to_row;
    if (dy_type_ == shape_.dtype)
      std::memcpy(to, from, static_cast<std::size_t>(to_row));
    else if (dy_type_ == graph::DType::f32)
      narrow(reinterpret_cast<const float*>(from), reinterpret_cast<Bf16*>(to), depth);
    else
      widen(reinterpret_cast<const Bf16*>(from), reinterpret_cast<float*>(to), depth);
  }
}

// S^T, dP^T -> P^T, dS^T.
void OneDnnAttentionGrad::softmax_grad(const KernelArgs& args, std::int64_t task, std::int64_t b, const Buffers& at) const {
  const std::int64_t begin = blocks_.begin(b), rows = blocks_.rows(b);
  const float scale = shape_.scale();
  const float* stats = reinterpret_cast<const float*>(args.inputs[2]) + task * shape_.seq + begin;
  const bool rounds = shape_.dtype == graph::DType::bf16;
  for (std::int64_t key = 0; key < blocks_.extent(b); ++key) {
    const std::int64_t offset = key * rows;
    softmax_grad_row({.s = at.s + offset,
                      .dp = at.dp + offset,
                      .rounded_p = rounds ? reinterpret_cast<Bf16*>(at.p) + offset : nullptr,
                      .rounded_ds = rounds ? reinterpret_cast<Bf16*>(at.ds) + offset : nullptr},
                     stats, at.delta, scale, std::max<std::int64_t>(0, key - begin), rows);
  }
}

// Dense rows [begin, begin + rows) of dQ, dK or dV (part 0, 1, 2).
void OneDnnAttentionGrad::store(const KernelArgs& args, std::int64_t task, std::int64_t part, std::int64_t begin,
                                std::int64_t rows, const float* data, const Buffers& at) const {
  epilogue_.run({args.inputs + 4, args.outputs}, head_piece(shape_, task, part, begin, rows, data, shape_.depth),
                at.epilogue);
}

void OneDnnAttentionGrad::run_task(const KernelArgs& args, std::int64_t task, std::byte* own) const {
  const Buffers at = buffers(own);
  gather_head(shape_, args.inputs[0], task, 0, at.q);
  gather_head(shape_, args.inputs[0], task, 1, at.k);
  gather_head(shape_, args.inputs[0], task, 2, at.v);
  for (std::int64_t b = blocks_.count() - 1; b >= 0; --b) {
    const Products& products = products_[static_cast<std::size_t>(b)];
    const std::byte* q = at.q + blocks_.begin(b) * shape_.depth * shape_.element();
    load_block(args, task, b, at);
    products.scores->run(at.k, q, at.s, at.onednn);
    products.scores->run(at.v, at.dy, at.dp, at.onednn);
    softmax_grad(args, task, b, at);
    products.keys->run(at.p, at.dy, at.dv, at.onednn);
    products.keys->run(at.ds, q, at.dk, at.onednn);
    products.queries->run(at.ds, at.k, at.dq, at.onednn);
    store(args, task, 0, blocks_.begin(b), blocks_.rows(b), at.dq, at);
  }
  store(args, task, 1, 0, shape_.seq, at.dk, at);
  store(args, task, 2, 0, shape_.seq, at.dv, at);
}

}  // namespace

Result<std::unique_ptr<Kernel>> make_onednn_attention_grad(const KernelSpec& spec) {
  const AttentionShape shape = attention_shape(spec);
  check_attention_grad(spec, shape);
  auto kernel = std::make_unique<OneDnnAttentionGrad>(spec, shape);
  SUANLI_RETURN_IF_ERROR(kernel->prepare());
  return kernel;
}

}  // namespace suanli::engine
