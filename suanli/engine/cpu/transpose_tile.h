// Transposing a part of a matrix of 2- or 4-byte elements, on one thread.
#pragma once

#include <cstdint>

namespace suanli::engine {

// to[j * to_row + i] = from[i * from_row + j] for i < rows, j < columns. The two must not overlap.
void transpose_tile(const std::uint16_t* from, std::int64_t from_row, std::uint16_t* to,
                    std::int64_t to_row, std::int64_t rows, std::int64_t columns);
void transpose_tile(const std::uint32_t* from, std::int64_t from_row, std::uint32_t* to,
                    std::int64_t to_row, std::int64_t rows, std::int64_t columns);

}  // namespace suanli::engine
