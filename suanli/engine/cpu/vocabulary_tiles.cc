#include "suanli/engine/cpu/vocabulary_tiles.h"

#include <algorithm>

#include "suanli/engine/cpu/gemm_plan.h"
#include "suanli/engine/cpu/kernel_support.h"
#include "suanli/engine/cpu/onednn.h"
#include "suanli/engine/cpu/scratch_layout.h"
#include "suanli/engine/cpu/vocabulary_rows.h"

namespace suanli::engine {
namespace {

using graph::DType;
using Gemm = std::shared_ptr<const TileGemm>;

constexpr std::int64_t kFloat = sizeof(float);
constexpr std::int64_t kEntries = 256;     // of the vocabulary per tile
constexpr std::int64_t kRows = 256;        // of x per tile
constexpr std::int64_t kUnit = 32;
constexpr std::int64_t kMaxChunk = 2048;   // entries whose gradient exists at a time
constexpr std::int64_t kChunkBytes = std::int64_t{16} << 20;  // of that gradient

// The tiles of both kernels. Entries are cut into pieces of kEntries, the last one shorter.
struct Cut {
  explicit Cut(const VocabularyShape& s)
      : rows(split(s.rows, kRows, kUnit)), entries(std::min(kEntries, s.vocabulary)), last(s.vocabulary % entries) {
    if (last == 0) last = entries;
  }
  Split rows;
  std::int64_t entries, last;
};

float* floats(const KernelArgs& args, std::int64_t offset) { return reinterpret_cast<float*>(args.scratch + offset); }

// x or w as the products take it: where it lies, or copied to f32 and rounded as it must be.
bool needs_copy(bool bf16, const VocabularyShape& s) { return bf16 || s.rounds(); }

void copy_rounded(const float* from, float* to, std::int64_t n) {
  constexpr std::int64_t kPiece = 512;
  Bf16 rounded[kPiece];
  for (std::int64_t i = 0; i < n; i += kPiece) {
    narrow(from + i, rounded, std::min(kPiece, n - i));
    widen(rounded, to + i, std::min(kPiece, n - i));
  }
}

void copy_operand(const KernelArgs& args, int index, bool bf16, std::int64_t from, std::int64_t n, float* to) {
  if (bf16)
    widen(input<Bf16>(args, index) + from, to, n);
  else
    copy_rounded(input<float>(args, index) + from, to, n);
}

// logits^T [entries, rows] = w [entries, C] x^T, both [.., C] in memory; x^T packed.
Result<Gemm> logits_gemm(const VocabularyShape& s, std::int64_t entries, std::int64_t rows) {
  return TileGemm::make({.m = entries,
                         .n = rows,
                         .k = s.width,
                         .operands = DType::f32,
                         .a_row = s.width,
                         .b_row = 1,
                         .b_column = s.width,
                         .c_row = rows,
                         .packed_for = std::min(kEntries, s.vocabulary)});
}

// What forward and backward share: x in f32, and x^T packed for the logits.
class Logits {
 public:
  explicit Logits(const VocabularyShape& s) : s_(s), cut_(s) {}

  Status prepare(ScratchLayout& shared) {
    for (const bool last_entries : {false, true})
      for (const bool last_rows : {false, true}) {
        SUANLI_ASSIGN_OR_RETURN(gemms_[last_entries][last_rows],
                                logits_gemm(s_, last_entries ? cut_.last : cut_.entries,
                                            last_rows ? cut_.rows.last : cut_.rows.size));
        onednn_ = std::max(onednn_, gemms_[last_entries][last_rows]->scratch());
      }
    panel_ = std::max(gemms_[0][0]->packed_size(), gemms_[0][1]->packed_size()).value();
    panel_ = (panel_ + 63) / 64 * 64;
    packed_at_ = shared.add(cut_.rows.count * panel_);
    if (needs_copy(s_.x_bf16, s_)) x_at_ = shared.add(s_.rows * s_.width * kFloat);
    return {};
  }

  const Cut& cut() const { return cut_; }
  Bytes onednn() const { return onednn_; }
  const std::string& name() const { return gemms_[0][0]->implementation(); }
  const float* x(const KernelArgs& args) const {
    return needs_copy(s_.x_bf16, s_) ? floats(args, x_at_) : input<float>(args, 0);
  }
  void pack(const KernelArgs& args) const {
    args.pool.parallel_for(
        cut_.rows.count,
        [&](std::int64_t j, int) {
          const std::int64_t first = cut_.rows.begin(j) * s_.width;
          if (needs_copy(s_.x_bf16, s_))
            copy_operand(args, 0, s_.x_bf16, first, cut_.rows.length(j) * s_.width, floats(args, x_at_) + first);
          gemms_[0][j + 1 == cut_.rows.count]->pack(x(args) + first, args.scratch + packed_at_ + j * panel_);
        },
        /*share=*/0);
  }
  // Logits of the entries at `w`, cut_.entries or cut_.last of them, and the rows of tile j.
  void run(const KernelArgs& args, const float* w, std::int64_t entries, std::int64_t j, float* to, std::byte* onednn) const {
    gemms_[entries != cut_.entries][j + 1 == cut_.rows.count]->run(w, args.scratch + packed_at_ + j * panel_, to, onednn);
  }

 private:
  VocabularyShape s_;
  Cut cut_;
  Gemm gemms_[2][2];  // [last entries?][last rows?]
  Bytes onednn_{};
  std::int64_t panel_ = 0, packed_at_ = 0, x_at_ = 0;
};

// ---- forward

class LossTiles final : public Kernel {
 public:
  LossTiles(const VocabularyShape& shape, bool with_sums) : s_(shape), with_sums_(with_sums), logits_(shape) {}

  Status prepare() {
    SUANLI_RETURN_IF_ERROR(logits_.prepare(shared_));
    const Cut& cut = logits_.cut();
    blocks_ = divide_up(s_.vocabulary, cut.entries);
    picked_at_ = shared_.add(s_.rows * kFloat);
    sums_at_ = shared_.add(blocks_ * 2 * s_.rows * kFloat);
    tile_at_ = own_.add(cut.entries * cut.rows.longest() * kFloat);
    if (needs_copy(s_.w_bf16, s_)) w_at_ = own_.add(cut.entries * s_.width * kFloat);
    onednn_at_ = own_.add(logits_.onednn());
    return {};
  }

  void run(const KernelArgs& args) const override;
  Bytes scratch(int workers) const override { return shared_.size() + own_.size() * std::int64_t{workers}; }
  std::string implementation() const override {
    return logits_.name() + (s_.rounds() ? " of rounded operands" : "") + ", logits of " +
           std::to_string(logits_.cut().entries) + "x" + std::to_string(logits_.cut().rows.size) + ", dropped";
  }

 private:
  RunningSums sums(const KernelArgs& args, std::int64_t block, std::int64_t row) const {
    float* top = floats(args, sums_at_) + block * 2 * s_.rows + row;
    return {top, top + s_.rows};
  }
  void run_tile(const KernelArgs& args, std::int64_t block, std::int64_t j, std::byte* own) const;

  VocabularyShape s_;
  bool with_sums_;
  Logits logits_;
  std::int64_t blocks_ = 0;  // of entries
  ScratchLayout shared_, own_;
  std::int64_t picked_at_ = 0, sums_at_ = 0, tile_at_ = 0, w_at_ = 0, onednn_at_ = 0;
};

void LossTiles::run(const KernelArgs& args) const {
  std::byte* own = args.scratch + shared_.size().value();
  const Split& rows = logits_.cut().rows;
  logits_.pack(args);
  args.pool.parallel_for(blocks_ * rows.count, [&](std::int64_t task, int worker) {
    run_tile(args, task / rows.count, task % rows.count, own + worker * own_.size().value());
  });
  args.pool.parallel_for(
      rows.count,
      [&](std::int64_t j, int) {
        const std::int64_t row = rows.begin(j);
        const RunningSums total = sums(args, 0, row);
        for (std::int64_t block = 1; block < blocks_; ++block) add_sums(sums(args, block, row), total, rows.length(j));
        finish_sums(total, input<std::int32_t>(args, 2) + row, floats(args, picked_at_) + row, s_.vocabulary, rows.length(j),
                    output<float>(args, 0) + row, with_sums_ ? output<float>(args, 1) + row : nullptr);
      },
      /*share=*/0);
}

void LossTiles::run_tile(const KernelArgs& args, std::int64_t block, std::int64_t j, std::byte* own) const {
  const Cut& cut = logits_.cut();
  const std::int64_t entry = block * cut.entries, entries = std::min(cut.entries, s_.vocabulary - entry);
  const std::int64_t row = cut.rows.begin(j), rows = cut.rows.length(j);
  float* tile = reinterpret_cast<float*>(own + tile_at_);
  const float* w = reinterpret_cast<const float*>(own + w_at_);
  if (needs_copy(s_.w_bf16, s_))
    copy_operand(args, 1, s_.w_bf16, entry * s_.width, entries * s_.width, reinterpret_cast<float*>(own + w_at_));
  else
    w = input<float>(args, 1) + entry * s_.width;
  logits_.run(args, w, entries, j, tile, own + onednn_at_);
  clear_sums(sums(args, block, row), rows);
  add_logits({tile, rows, entry, entries, rows}, input<std::int32_t>(args, 2) + row, sums(args, block, row),
             floats(args, picked_at_) + row);
}

// ---- backward

class LossGradTiles final : public Kernel {
 public:
  LossGradTiles(const VocabularyShape& shape, bool with_dx) : s_(shape), with_dx_(with_dx), logits_(shape) {}
  Status prepare();

  void run(const KernelArgs& args) const override;
  Bytes scratch(int workers) const override { return shared_.size() + own_.size() * std::int64_t{workers}; }
  std::string implementation() const override {
    return logits_.name() + (s_.rounds() ? " of rounded operands" : "") + ", chunks of " + std::to_string(chunk_) +
           " entries, logits again by " + std::to_string(logits_.cut().entries) + "x" +
           std::to_string(logits_.cut().rows.size);
  }

 private:
  struct Chunk {
    std::int64_t entry, entries;  // of the vocabulary
  };
  Status prepare_dx();
  Status prepare_dw();
  std::int64_t entries_of(const Chunk& chunk, std::int64_t block) const {
    return std::min(logits_.cut().entries, chunk.entries - block * logits_.cut().entries);
  }
  const float* w(const KernelArgs& args, const Chunk& chunk, std::int64_t block) const;
  // Gradient of the chunk's logits, [entry][row] of the rows of tile j.
  float* gradient(const KernelArgs& args, std::int64_t block, std::int64_t j) const {
    const Split& rows = logits_.cut().rows;
    return floats(args, gradient_at_) + rows.begin(j) * chunk_ + block * logits_.cut().entries * rows.length(j);
  }
  void pack_block(const KernelArgs& args, const Chunk& chunk, std::int64_t block) const;
  void logits_task(const KernelArgs& args, const Chunk& chunk, std::int64_t block, std::int64_t j, std::byte* own) const;
  void dw_task(const KernelArgs& args, const Chunk& chunk, std::int64_t block, std::byte* own) const;
  void dx_task(const KernelArgs& args, const Chunk& chunk, std::int64_t j, std::byte* own) const;

  VocabularyShape s_;
  bool with_dx_;
  Logits logits_;
  std::int64_t chunk_ = 0;     // entries
  Gemm dx_gemms_[2][2][2];     // [last entries?][last rows?][adds?]: dx [rows, C] (+)= (gradient^T)^T w
  Gemm dw_gemms_[2][2][2];     // the same of dw [entries, C] (+)= gradient^T x
  std::int64_t w_panel_ = 0, x_panel_ = 0;  // bytes of packed w of a block of entries, of packed x of a tile of rows
  ScratchLayout shared_, own_;
  std::int64_t factors_at_ = 0, gradient_at_ = 0, w_at_ = 0, x_packed_at_ = 0, onednn_at_ = 0;
  // [last rows?]: oneDNN's layout of w depends on the number of rows if those are transposed.
  std::int64_t w_packed_at_[2] = {0, 0};
};

Status LossGradTiles::prepare() {
  SUANLI_RETURN_IF_ERROR(logits_.prepare(shared_));
  const std::int64_t entries = logits_.cut().entries;
  const std::int64_t blocks = std::clamp<std::int64_t>(kChunkBytes / (s_.rows * kFloat * entries), 1, kMaxChunk / entries);
  chunk_ = std::min(blocks * entries, divide_up(s_.vocabulary, entries) * entries);
  SUANLI_RETURN_IF_ERROR(prepare_dw());
  if (with_dx_) SUANLI_RETURN_IF_ERROR(prepare_dx());
  Bytes onednn = logits_.onednn();
  for (const auto* gemms : {&dx_gemms_, &dw_gemms_})
    for (const auto& by_entries : *gemms)
      for (const auto& by_rows : by_entries)
        for (const Gemm& gemm : by_rows)
          if (gemm) onednn = std::max(onednn, gemm->scratch());
  factors_at_ = shared_.add(s_.rows * kFloat);
  gradient_at_ = shared_.add(s_.rows * chunk_ * kFloat);
  if (needs_copy(s_.w_bf16, s_)) w_at_ = shared_.add(chunk_ * s_.width * kFloat);
  onednn_at_ = own_.add(onednn);
  return {};
}

Status LossGradTiles::prepare_dw() {
  const Cut& cut = logits_.cut();
  for (const bool last_entries : {false, true})
    for (const bool last_rows : {false, true})
      for (const bool adds : {false, true}) {
        const std::int64_t rows = last_rows ? cut.rows.last : cut.rows.size;
        SUANLI_ASSIGN_OR_RETURN(dw_gemms_[last_entries][last_rows][adds],
                                TileGemm::make({.m = last_entries ? cut.last : cut.entries,
                                                .n = s_.width,
                                                .k = rows,
                                                .operands = DType::f32,
                                                .a_row = rows,
                                                .b_row = s_.width,
                                                .c_row = s_.width,
                                                .accumulate = adds,
                                                .packed_for = cut.entries}));
      }
  x_panel_ = std::max(dw_gemms_[0][0][0]->packed_size(), dw_gemms_[0][1][0]->packed_size()).value();
  x_panel_ = (x_panel_ + 63) / 64 * 64;
  x_packed_at_ = shared_.add(cut.rows.count * x_panel_);
  return {};
}

Status LossGradTiles::prepare_dx() {
  const Cut& cut = logits_.cut();
  for (const bool last_entries : {false, true})
    for (const bool last_rows : {false, true})
      for (const bool adds : {false, true}) {
        const std::int64_t rows = last_rows ? cut.rows.last : cut.rows.size;
        SUANLI_ASSIGN_OR_RETURN(dx_gemms_[last_entries][last_rows][adds],
                                TileGemm::make({.m = rows,
                                                .n = s_.width,
                                                .k = last_entries ? cut.last : cut.entries,
                                                .operands = DType::f32,
                                                .a_row = 1,
                                                .a_column = rows,
                                                .b_row = s_.width,
                                                .c_row = s_.width,
                                                .accumulate = adds,
                                                .packed_for = rows}));
        w_panel_ = std::max(w_panel_, dx_gemms_[last_entries][last_rows][adds]->packed_size().value());
      }
  w_panel_ = (w_panel_ + 63) / 64 * 64;
  const bool ragged = cut.rows.last != cut.rows.size;
  for (const bool last_rows : {false, true})
    w_packed_at_[last_rows] = last_rows && !ragged ? w_packed_at_[0] : shared_.add(chunk_ / cut.entries * w_panel_);
  return {};
}

void LossGradTiles::run(const KernelArgs& args) const {
  const Cut& cut = logits_.cut();
  std::byte* own = args.scratch + shared_.size().value();
  const auto mine = [&](int worker) { return own + worker * own_.size().value(); };
  row_factors(input<std::int32_t>(args, 2), input<float>(args, 4), s_.vocabulary, s_.rows, floats(args, factors_at_));
  logits_.pack(args);
  args.pool.parallel_for(
      cut.rows.count,
      [&](std::int64_t j, int) {
        dw_gemms_[0][j + 1 == cut.rows.count][0]->pack(logits_.x(args) + cut.rows.begin(j) * s_.width,
                                                       args.scratch + x_packed_at_ + j * x_panel_);
      },
      /*share=*/0);
  for (std::int64_t entry = 0; entry < s_.vocabulary; entry += chunk_) {
    const Chunk chunk{entry, std::min(chunk_, s_.vocabulary - entry)};
    const std::int64_t blocks = divide_up(chunk.entries, cut.entries);
    const double part = static_cast<double>(chunk.entries) / static_cast<double>(s_.vocabulary);
    const double products = with_dx_ ? 3 : 2;
    args.pool.parallel_for(blocks, [&](std::int64_t block, int) { pack_block(args, chunk, block); }, /*share=*/0);
    args.pool.parallel_for(
        blocks * cut.rows.count,
        [&](std::int64_t task, int worker) {
          logits_task(args, chunk, task / cut.rows.count, task % cut.rows.count, mine(worker));
        },
        part / products);
    args.pool.parallel_for(
        blocks + (with_dx_ ? cut.rows.count : 0),
        [&](std::int64_t task, int worker) {
          if (task < blocks)
            dw_task(args, chunk, task, mine(worker));
          else
            dx_task(args, chunk, task - blocks, mine(worker));
        },
        part * (products - 1) / products);
  }
}

const float* LossGradTiles::w(const KernelArgs& args, const Chunk& chunk, std::int64_t block) const {
  const std::int64_t first = block * logits_.cut().entries * s_.width;
  return needs_copy(s_.w_bf16, s_) ? floats(args, w_at_) + first : input<float>(args, 1) + chunk.entry * s_.width + first;
}

// w of a block in f32, and packed for dx.
void LossGradTiles::pack_block(const KernelArgs& args, const Chunk& chunk, std::int64_t block) const {
  const std::int64_t entries = entries_of(chunk, block), first = block * logits_.cut().entries;
  if (needs_copy(s_.w_bf16, s_))
    copy_operand(args, 1, s_.w_bf16, (chunk.entry + first) * s_.width, entries * s_.width,
                 floats(args, w_at_) + first * s_.width);
  if (!with_dx_) return;
  for (const bool last_rows : {false, true})
    if (!last_rows || w_packed_at_[1] != w_packed_at_[0])
      dx_gemms_[entries != logits_.cut().entries][last_rows][0]->pack(
          w(args, chunk, block), args.scratch + w_packed_at_[last_rows] + block * w_panel_);
}

void LossGradTiles::logits_task(const KernelArgs& args, const Chunk& chunk, std::int64_t block, std::int64_t j,
                                std::byte* own) const {
  const Split& rows = logits_.cut().rows;
  const std::int64_t entries = entries_of(chunk, block), row = rows.begin(j);
  float* to = gradient(args, block, j);
  logits_.run(args, w(args, chunk, block), entries, j, to, own + onednn_at_);
  logits_gradient({to, rows.length(j), chunk.entry + block * logits_.cut().entries, entries, rows.length(j)},
                  input<std::int32_t>(args, 2) + row, input<float>(args, 3) + row, floats(args, factors_at_) + row);
  if (s_.rounds()) copy_rounded(to, to, entries * rows.length(j));
}

// dw of a block of entries: tiles of rows in ascending order.
void LossGradTiles::dw_task(const KernelArgs& args, const Chunk& chunk, std::int64_t block, std::byte* own) const {
  const Cut& cut = logits_.cut();
  const std::int64_t entries = entries_of(chunk, block);
  float* dw = output<float>(args, with_dx_ ? 1 : 0) + (chunk.entry + block * cut.entries) * s_.width;
  for (std::int64_t j = 0; j < cut.rows.count; ++j)
    dw_gemms_[entries != cut.entries][j + 1 == cut.rows.count][j > 0]->run(
        gradient(args, block, j), args.scratch + x_packed_at_ + j * x_panel_, dw, own + onednn_at_);
}

// Adds the chunk's part of dx for a tile of rows: blocks of entries in ascending order.
void LossGradTiles::dx_task(const KernelArgs& args, const Chunk& chunk, std::int64_t j, std::byte* own) const {
  const Cut& cut = logits_.cut();
  float* dx = output<float>(args, 0) + cut.rows.begin(j) * s_.width;
  const bool last_rows = j + 1 == cut.rows.count;
  for (std::int64_t block = 0; block < divide_up(chunk.entries, cut.entries); ++block)
    dx_gemms_[entries_of(chunk, block) != cut.entries][last_rows][chunk.entry + block > 0]->run(
        gradient(args, block, j), args.scratch + w_packed_at_[last_rows] + block * w_panel_, dx, own + onednn_at_);
}

}  // namespace

Result<std::unique_ptr<Kernel>> make_vocabulary_loss_tiles(const VocabularyShape& shape, bool with_sums) {
  auto kernel = std::make_unique<LossTiles>(shape, with_sums);
  SUANLI_RETURN_IF_ERROR(kernel->prepare());
  return kernel;
}

Result<std::unique_ptr<Kernel>> make_vocabulary_loss_grad_tiles(const VocabularyShape& shape, bool with_dx) {
  auto kernel = std::make_unique<LossGradTiles>(shape, with_dx);
  SUANLI_RETURN_IF_ERROR(kernel->prepare());
  return kernel;
}

}  // namespace suanli::engine
