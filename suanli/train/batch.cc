#include "suanli/train/batch.h"

#include <algorithm>

namespace suanli::train {

Batch::Batch(std::int64_t rows, std::int64_t context)
    : rows_(rows),
      context_(context),
      tokens_(static_cast<std::size_t>(rows * context), 0),
      targets_(static_cast<std::size_t>(rows * context), -1) {
  const Bytes size(static_cast<std::int64_t>(tokens_.size() * sizeof(std::int32_t)));
  inputs_ = {{{"tokens", tokens_.data(), size}, {"targets", targets_.data(), size}}};
}

std::span<std::int32_t> Batch::row_of(std::vector<std::int32_t>& values, std::int64_t row) const {
  SUANLI_CHECK(row >= 0 && row < rows_);
  return std::span(values).subspan(static_cast<std::size_t>(row * context_),
                                   static_cast<std::size_t>(context_));
}

Status Batch::fill(std::int64_t row, const data::Windows& windows, data::WindowId id) {
  SUANLI_CHECK(windows.context() == context_);
  return windows.read(id, row_of(tokens_, row), row_of(targets_, row));
}

Status Batch::fill(const data::Windows& windows, const data::Sampler& sampler, std::int64_t step,
                   std::int64_t micro_batch) {
  for (std::int64_t row = 0; row < rows_; ++row) {
    const auto index = static_cast<std::uint64_t>(micro_batch * rows_ + row);
    SUANLI_RETURN_IF_ERROR(fill(row, windows, sampler.at(static_cast<std::uint64_t>(step), index)));
  }
  return {};
}

void Batch::leave_out(std::int64_t row) {
  std::ranges::fill(row_of(tokens_, row), 0);
  std::ranges::fill(row_of(targets_, row), -1);
}

}  // namespace suanli::train
