#include "suanli/engine/cpu/vocabulary_amx.h"

#include <algorithm>
#include <cstring>

#include "suanli/engine/cpu/amx.h"
#include "suanli/engine/cpu/kernel_support.h"
#include "suanli/engine/cpu/scratch_layout.h"
#include "suanli/engine/cpu/vocabulary_rows.h"

namespace suanli::engine {
namespace {

using amx::kPanel;
using amx::kStepBytes;
using amx::panel_bytes;
using amx::panels_of;
using amx::steps_of;

constexpr std::int64_t kFloat = sizeof(float);
constexpr std::int64_t kTile = kPanel * kPanel;          // elements of a product
constexpr std::int64_t kResident = std::int64_t{768} << 10;  // bytes of panels that stay in L2 while others pass by
constexpr std::int64_t kMaxBlock = 16;                   // panels
constexpr std::int64_t kRowGroup = 64;                   // panels of rows per task of forward
constexpr std::int64_t kMaxChunk = 1024;                 // entries whose gradient exists at a time
constexpr std::int64_t kMinChunk = 256;
constexpr std::int64_t kChunkBytes = std::int64_t{16} << 20;  // of that gradient, packed twice
// Sums of a gradient of kLeft panels by kRight panels stay in L2 while kDepth steps of both operands pass by; a panel of A
// then stays in L1. Found by measurement: what comes from L3 costs more than all else.
constexpr std::int64_t kLeft = 8;
constexpr std::int64_t kRight = 12;
constexpr std::int64_t kDepth = 8;

// Panels of `bytes` each that stay in L2.
std::int64_t block_of(std::int64_t bytes) { return std::clamp<std::int64_t>(kResident / bytes, 2, kMaxBlock); }

// Calls visit(x or w as it is stored).
template <typename Visit>
void with_type(const KernelArgs& args, int index, bool bf16, const Visit& visit) {
  if (bf16)
    visit(input<Bf16>(args, index));
  else
    visit(input<float>(args, index));
}

// The panel of B for rows [32 panel, ..) of x: B[c][n] = x[n][c].
void pack_x_transposed(const KernelArgs& args, const VocabularyShape& s, std::int64_t panel, std::byte* to) {
  const std::int64_t row = panel * kPanel;
  with_type(args, 0, s.x_bf16, [&](const auto* x) {
    amx::pack_b_transposed(x + row * s.width, s.width, s.width, std::min(kPanel, s.rows - row), to);
  });
}

// The panel of A for entries [entry, entry + count).
void pack_entries(const KernelArgs& args, const VocabularyShape& s, std::int64_t entry, std::int64_t count, std::byte* to) {
  with_type(args, 1, s.w_bf16,
            [&](const auto* w) { amx::pack_a(w + entry * s.width, s.width, count, s.width, to); });
}

// ---- forward

class LossAmx final : public Kernel {
 public:
  LossAmx(const VocabularyShape& shape, bool with_sums)
      : s_(shape),
        with_sums_(with_sums),
        panels_(panels_of(shape.rows)),
        block_(block_of(panel_bytes(shape.width))),
        groups_(divide_up(panels_, kRowGroup)),
        blocks_(divide_up(panels_of(shape.vocabulary), block_)) {
    const std::int64_t padded = panels_ * kPanel;
    x_at_ = shared_.add(panels_ * panel_bytes(s_.width));
    targets_at_ = shared_.add(padded * std::int64_t{sizeof(std::int32_t)});
    picked_at_ = shared_.add(padded * kFloat);
    sums_at_ = shared_.add(blocks_ * 2 * padded * kFloat);
    w_at_ = own_.add(block_ * panel_bytes(s_.width));
    tile_at_ = own_.add(kTile * kFloat);
  }

  void run(const KernelArgs& args) const override;
  Bytes scratch(int workers) const override { return shared_.size() + own_.size() * std::int64_t{workers}; }
  std::string implementation() const override {
    return "amx bf16, logits of " + std::to_string(block_ * kPanel) + " entries by 32x32, dropped";
  }

 private:
  // Sums over block `block` of the vocabulary, of rows from `row` on.
  RunningSums sums(const KernelArgs& args, std::int64_t block, std::int64_t row) const {
    float* top = reinterpret_cast<float*>(args.scratch + sums_at_) + block * 2 * panels_ * kPanel + row;
    return {top, top + panels_ * kPanel};
  }
  void run_block(const KernelArgs& args, std::int64_t block, std::int64_t group, std::byte* own) const;

  VocabularyShape s_;
  bool with_sums_;
  std::int64_t panels_, block_, groups_, blocks_;  // panels of rows; panels per block; groups of rows; blocks of entries
  ScratchLayout shared_, own_;
  std::int64_t x_at_, targets_at_, picked_at_, sums_at_, w_at_, tile_at_;
};

void LossAmx::run(const KernelArgs& args) const {
  std::byte* own = args.scratch + shared_.size().value();
  auto* targets = reinterpret_cast<std::int32_t*>(args.scratch + targets_at_);
  args.pool.parallel_for(
      panels_,
      [&](std::int64_t panel, int) {
        const std::int64_t row = panel * kPanel, rows = std::min(kPanel, s_.rows - row);
        std::copy_n(input<std::int32_t>(args, 2) + row, rows, targets + row);
        std::fill_n(targets + row + rows, kPanel - rows, kIgnoredTarget);
        pack_x_transposed(args, s_, panel, args.scratch + x_at_ + panel * panel_bytes(s_.width));
      },
      /*share=*/0);
  args.pool.parallel_for(blocks_ * groups_, [&](std::int64_t task, int worker) {
    run_block(args, task / groups_, task % groups_, own + worker * own_.size().value());
  });
  const float* picked = reinterpret_cast<const float*>(args.scratch + picked_at_);
  args.pool.parallel_for(
      panels_,
      [&](std::int64_t panel, int) {
        const std::int64_t row = panel * kPanel;
        const RunningSums total = sums(args, 0, row);
        for (std::int64_t block = 1; block < blocks_; ++block) add_sums(sums(args, block, row), total, kPanel);
        finish_sums(total, targets + row, picked + row, s_.vocabulary, std::min(kPanel, s_.rows - row),
                    output<float>(args, 0) + row, with_sums_ ? output<float>(args, 1) + row : nullptr);
      },
      /*share=*/0);
}

// Entries of the block against the rows of the group: panels of entries pass through L1, a block of rows stays in L2.
void LossAmx::run_block(const KernelArgs& args, std::int64_t block, std::int64_t group, std::byte* own) const {
  const amx::Tiles tiles;
  const auto* targets = reinterpret_cast<const std::int32_t*>(args.scratch + targets_at_);
  float* picked = reinterpret_cast<float*>(args.scratch + picked_at_);
  float* tile = reinterpret_cast<float*>(own + tile_at_);
  const std::int64_t bytes = panel_bytes(s_.width), steps = steps_of(s_.width);
  const std::int64_t begin = group * kRowGroup, end = std::min(panels_, begin + kRowGroup);
  const std::int64_t entry0 = block * block_ * kPanel, entry_end = std::min(s_.vocabulary, entry0 + block_ * kPanel);
  clear_sums(sums(args, block, begin * kPanel), (end - begin) * kPanel);
  for (std::int64_t j0 = begin; j0 < end; j0 += block_)
    for (std::int64_t entry = entry0; entry < entry_end; entry += kPanel) {
      std::byte* packed = own + w_at_ + (entry - entry0) / kPanel * bytes;
      const std::int64_t entries = std::min(kPanel, entry_end - entry);
      if (j0 == begin) pack_entries(args, s_, entry, entries, packed);
      for (std::int64_t j = j0; j < std::min(end, j0 + block_); ++j) {
        amx::multiply(packed, args.scratch + x_at_ + j * bytes, steps, tile, kPanel, false);
        add_logits({tile, kPanel, entry, entries, kPanel}, targets + j * kPanel, sums(args, block, j * kPanel),
                   picked + j * kPanel);
      }
    }
}

// ---- backward

class LossGradAmx final : public Kernel {
 public:
  LossGradAmx(const VocabularyShape& shape, bool with_dx);

  void run(const KernelArgs& args) const override;
  Bytes scratch(int workers) const override { return shared_.size() + own_.size() * std::int64_t{workers}; }
  std::string implementation() const override {
    return "amx bf16, chunks of " + std::to_string(chunk_) + " entries, logits again by 32x32";
  }

 private:
  struct Chunk {
    std::int64_t entry, entries;  // of the vocabulary
    std::int64_t panels() const { return panels_of(entries); }
  };
  void prepare(const KernelArgs& args) const;
  void pack_chunk(const KernelArgs& args, const Chunk& chunk) const;
  void logits_task(const KernelArgs& args, const Chunk& chunk, std::int64_t row_block, std::int64_t entry_block,
                   std::byte* own) const;
  struct Operand {  // packed panels, `stride` bytes apart
    const std::byte* data;
    std::int64_t stride, panels;
  };
  void add_products(const Operand& left, const Operand& right, std::int64_t steps, bool adds, float* sums) const;
  void dw_task(const KernelArgs& args, const Chunk& chunk, std::int64_t task, std::byte* own) const;
  void dx_task(const KernelArgs& args, const Chunk& chunk, std::int64_t task) const;
  void store_dx(const KernelArgs& args) const;
  void store(const float* tiles, std::int64_t row, std::int64_t rows, std::int64_t column_panel, std::int64_t panels,
             float* to) const;
  // Sums of dx of the kLeft panels of rows from `panel` on, columns from `column_panel` on.
  float* dx_sums(const KernelArgs& args, std::int64_t panel, std::int64_t column_panel) const {
    const std::int64_t count = std::min(panels_ - panel, kLeft);
    return reinterpret_cast<float*>(at(args, dx_at_)) + (panel * columns_ + count * column_panel) * kTile;
  }
  std::byte* at(const KernelArgs& args, std::int64_t offset) const { return args.scratch + offset; }

  VocabularyShape s_;
  bool with_dx_;
  std::int64_t chunk_;                 // entries
  std::int64_t panels_, columns_;      // panels of rows and of columns of x
  std::int64_t column_groups_;         // by kRight
  std::int64_t row_block_;             // panels of rows that stay in L2 for the logits
  ScratchLayout shared_, own_;
  std::int64_t x_logits_at_ = 0;    // [row panel]: x^T for the logits
  std::int64_t x_dw_at_ = 0;        // [column panel]: x for dw
  std::int64_t w_logits_at_ = 0;    // [entry panel]: w of the chunk for the logits
  std::int64_t w_dx_at_ = 0;        // [column panel]: w of the chunk for dx
  std::int64_t d_dw_at_ = 0;        // [entry panel]: gradient of the chunk's logits for dw
  std::int64_t d_dx_at_ = 0;        // [row panel]: the same for dx
  std::int64_t dx_at_ = 0;          // [rows by kLeft][columns by kRight][row panel][column panel][32][32]: sums of dx
  std::int64_t targets_at_ = 0, factors_at_ = 0, totals_at_ = 0;  // [padded rows]
  std::int64_t tile_at_ = 0, dw_at_ = 0;                          // own: a piece of logits; sums of dw
};

LossGradAmx::LossGradAmx(const VocabularyShape& shape, bool with_dx)
    : s_(shape),
      with_dx_(with_dx),
      panels_(panels_of(shape.rows)),
      columns_(panels_of(shape.width)),
      column_groups_(divide_up(columns_, kRight)) {
  const std::int64_t fits = kChunkBytes / (panels_ * kPanel * 4) / kPanel * kPanel;
  chunk_ = std::min(std::clamp(fits, kMinChunk, kMaxChunk), panels_of(s_.vocabulary) * kPanel);
  row_block_ = block_of(panel_bytes(s_.width));
  x_logits_at_ = shared_.add(panels_ * panel_bytes(s_.width));
  x_dw_at_ = shared_.add(columns_ * panel_bytes(s_.rows));
  w_logits_at_ = shared_.add(panels_of(chunk_) * panel_bytes(s_.width));
  d_dw_at_ = shared_.add(panels_of(chunk_) * panel_bytes(s_.rows));
  if (with_dx_) {
    w_dx_at_ = shared_.add(columns_ * panel_bytes(chunk_));
    d_dx_at_ = shared_.add(panels_ * panel_bytes(chunk_));
    dx_at_ = shared_.add(panels_ * columns_ * kTile * kFloat);
  }
  for (std::int64_t* offset : {&targets_at_, &factors_at_, &totals_at_}) *offset = shared_.add(panels_ * kPanel * 4);
  tile_at_ = own_.add(kTile * kFloat);
  dw_at_ = own_.add(kLeft * kRight * kTile * kFloat);
}

void LossGradAmx::run(const KernelArgs& args) const {
  std::byte* own = args.scratch + shared_.size().value();
  const auto mine = [&](int worker) { return own + worker * own_.size().value(); };
  prepare(args);
  for (std::int64_t entry = 0; entry < s_.vocabulary; entry += chunk_) {
    const Chunk chunk{entry, std::min(chunk_, s_.vocabulary - entry)};
    const double part = static_cast<double>(chunk.entries) / static_cast<double>(s_.vocabulary);
    const double products = with_dx_ ? 3 : 2;
    pack_chunk(args, chunk);
    const std::int64_t entry_blocks = divide_up(chunk.panels(), kMaxBlock), row_blocks = divide_up(panels_, row_block_);
    args.pool.parallel_for(
        row_blocks * entry_blocks,
        [&](std::int64_t task, int worker) {
          logits_task(args, chunk, task / entry_blocks, task % entry_blocks, mine(worker));
        },
        part / products);
    const std::int64_t dw_tasks = divide_up(chunk.panels(), kLeft) * column_groups_;
    const std::int64_t dx_tasks = with_dx_ ? divide_up(panels_, kLeft) * column_groups_ : 0;
    args.pool.parallel_for(
        dw_tasks + dx_tasks,
        [&](std::int64_t task, int worker) {
          if (task < dw_tasks)
            dw_task(args, chunk, task, mine(worker));
          else
            dx_task(args, chunk, task - dw_tasks);
        },
        part * (products - 1) / products);
  }
  if (with_dx_) store_dx(args);
}

void LossGradAmx::prepare(const KernelArgs& args) const {
  auto* targets = reinterpret_cast<std::int32_t*>(at(args, targets_at_));
  auto* factors = reinterpret_cast<float*>(at(args, factors_at_));
  auto* totals = reinterpret_cast<float*>(at(args, totals_at_));
  args.pool.parallel_for(
      panels_,
      [&](std::int64_t panel, int) {
        const std::int64_t row = panel * kPanel, rows = std::min(kPanel, s_.rows - row), missing = kPanel - rows;
        std::copy_n(input<std::int32_t>(args, 2) + row, rows, targets + row);
        std::copy_n(input<float>(args, 3) + row, rows, totals + row);
        row_factors(targets + row, input<float>(args, 4) + row, s_.vocabulary, rows, factors + row);
        std::fill_n(targets + row + rows, missing, kIgnoredTarget);
        std::fill_n(totals + row + rows, missing, 0.0F);
        std::fill_n(factors + row + rows, missing, 0.0F);
        pack_x_transposed(args, s_, panel, at(args, x_logits_at_) + panel * panel_bytes(s_.width));
        with_type(args, 0, s_.x_bf16, [&](const auto* x) {
          for (std::int64_t c = 0; c < columns_; ++c)
            amx::pack_b(x + row * s_.width + c * kPanel, s_.width, rows, std::min(kPanel, s_.width - c * kPanel),
                        at(args, x_dw_at_) + c * panel_bytes(s_.rows) + panel * kStepBytes);
        });
      },
      /*share=*/0);
}

void LossGradAmx::pack_chunk(const KernelArgs& args, const Chunk& chunk) const {
  args.pool.parallel_for(
      chunk.panels(),
      [&](std::int64_t panel, int) {
        const std::int64_t entry = chunk.entry + panel * kPanel;
        const std::int64_t entries = std::min(kPanel, chunk.entry + chunk.entries - entry);
        pack_entries(args, s_, entry, entries, at(args, w_logits_at_) + panel * panel_bytes(s_.width));
        if (!with_dx_) return;
        with_type(args, 1, s_.w_bf16, [&](const auto* w) {
          for (std::int64_t c = 0; c < columns_; ++c)
            amx::pack_b(w + entry * s_.width + c * kPanel, s_.width, entries, std::min(kPanel, s_.width - c * kPanel),
                        at(args, w_dx_at_) + c * panel_bytes(chunk_) + panel * kStepBytes);
        });
      },
      /*share=*/0);
}

// Logits, their gradient, and that packed as the left operand of both products.
void LossGradAmx::logits_task(const KernelArgs& args, const Chunk& chunk, std::int64_t row_block, std::int64_t entry_block,
                              std::byte* own) const {
  const amx::Tiles tiles;
  const auto* targets = reinterpret_cast<const std::int32_t*>(at(args, targets_at_));
  const auto* factors = reinterpret_cast<const float*>(at(args, factors_at_));
  const auto* totals = reinterpret_cast<const float*>(at(args, totals_at_));
  float* tile = reinterpret_cast<float*>(own + tile_at_);
  const std::int64_t bytes = panel_bytes(s_.width), steps = steps_of(s_.width);
  const std::int64_t begin = row_block * row_block_, end = std::min(panels_, begin + row_block_);
  for (std::int64_t e = entry_block * kMaxBlock; e < std::min(chunk.panels(), (entry_block + 1) * kMaxBlock); ++e) {
    const std::int64_t entries = std::min(kPanel, chunk.entries - e * kPanel);
    for (std::int64_t r = begin; r < end; ++r) {
      amx::multiply(at(args, w_logits_at_) + e * bytes, at(args, x_logits_at_) + r * bytes, steps, tile, kPanel, false);
      logits_gradient({tile, kPanel, chunk.entry + e * kPanel, entries, kPanel}, targets + r * kPanel, totals + r * kPanel,
                      factors + r * kPanel);
      amx::pack_a(tile, kPanel, entries, kPanel, at(args, d_dw_at_) + e * panel_bytes(s_.rows) + r * kStepBytes);
      if (with_dx_)
        amx::pack_a_transposed(tile, kPanel, kPanel, entries, at(args, d_dx_at_) + r * panel_bytes(chunk_) + e * kStepBytes);
    }
  }
}

// sums [left][right][32][32] (+)= panels of A of `left` times panels of B of `right`, over `steps`.
void LossGradAmx::add_products(const Operand& left, const Operand& right, std::int64_t steps, bool adds, float* sums) const {
  for (std::int64_t k = 0; k < steps; k += kDepth)
    for (std::int64_t i = 0; i < left.panels; ++i)
      for (std::int64_t j = 0; j < right.panels; ++j)
        amx::multiply(left.data + i * left.stride + k * kStepBytes, right.data + j * right.stride + k * kStepBytes,
                      std::min(kDepth, steps - k), sums + (i * right.panels + j) * kTile, kPanel, adds || k > 0);
}

// dw of kLeft panels of entries and kRight panels of columns.
void LossGradAmx::dw_task(const KernelArgs& args, const Chunk& chunk, std::int64_t task, std::byte* own) const {
  const amx::Tiles tiles;
  float* sums = reinterpret_cast<float*>(own + dw_at_);
  const std::int64_t first = task / column_groups_ * kLeft, count = std::min(chunk.panels() - first, kLeft);
  const std::int64_t c = task % column_groups_ * kRight, columns = std::min(columns_ - c, kRight);
  const std::int64_t bytes = panel_bytes(s_.rows);
  add_products({at(args, d_dw_at_) + first * bytes, bytes, count}, {at(args, x_dw_at_) + c * bytes, bytes, columns}, panels_,
               false, sums);
  for (std::int64_t e = 0; e < count; ++e)
    store(sums + e * columns * kTile, chunk.entry + (first + e) * kPanel,
          std::min(kPanel, chunk.entries - (first + e) * kPanel), c, columns, output<float>(args, with_dx_ ? 1 : 0));
}

// Adds the chunk's part of dx for kLeft panels of rows and kRight panels of columns.
void LossGradAmx::dx_task(const KernelArgs& args, const Chunk& chunk, std::int64_t task) const {
  const amx::Tiles tiles;
  const std::int64_t first = task / column_groups_ * kLeft, count = std::min(panels_ - first, kLeft);
  const std::int64_t c = task % column_groups_ * kRight, columns = std::min(columns_ - c, kRight);
  const std::int64_t bytes = panel_bytes(chunk_);
  add_products({at(args, d_dx_at_) + first * bytes, bytes, count}, {at(args, w_dx_at_) + c * bytes, bytes, columns},
               steps_of(chunk.entries), chunk.entry > 0, dx_sums(args, first, c));
}

void LossGradAmx::store_dx(const KernelArgs& args) const {
  args.pool.parallel_for(
      panels_,
      [&](std::int64_t r, int) {
        for (std::int64_t c = 0; c < columns_; c += kRight) {
          const std::int64_t columns = std::min(columns_ - c, kRight);
          store(dx_sums(args, r / kLeft * kLeft, c) + r % kLeft * columns * kTile, r * kPanel,
                std::min(kPanel, s_.rows - r * kPanel), c, columns, output<float>(args, 0));
        }
      },
      /*share=*/0);
}

// The tiles of a panel of rows and `panels` panels of columns to rows [row, row + rows) of a matrix of width C.
void LossGradAmx::store(const float* tiles, std::int64_t row, std::int64_t rows, std::int64_t column_panel,
                        std::int64_t panels, float* to) const {
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t c = 0; c < panels; ++c) {
      const std::int64_t column = (column_panel + c) * kPanel;
      std::memcpy(to + (row + i) * s_.width + column, tiles + c * kTile + i * kPanel,
                  static_cast<std::size_t>(std::min(kPanel, s_.width - column) * kFloat));
    }
}

}  // namespace

std::unique_ptr<Kernel> make_vocabulary_loss_amx(const VocabularyShape& shape, bool with_sums) {
  return std::make_unique<LossAmx>(shape, with_sums);
}

std::unique_ptr<Kernel> make_vocabulary_loss_grad_amx(const VocabularyShape& shape, bool with_dx) {
  return std::make_unique<LossGradAmx>(shape, with_dx);
}

}  // namespace suanli::engine
