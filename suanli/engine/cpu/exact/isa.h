// Which instructions the exact kernels use. Their results are the same bits on all of them (docs/formats/exact-arithmetic.md);
// a limit exists so that tests, and users who doubt it, can see that for themselves.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace suanli::engine::exact {

// What the exact kernels compute; a change of any bit is a new version.
inline constexpr std::string_view kVersion = "exact/1";

// Ascending: a CPU that has one has those before it.
enum class Isa : std::uint8_t {
  scalar,  // plain C++ of the build's baseline; Highway's emulated vectors
  avx2,
  avx512,  // F, BW, DQ, VL and VNNI
  amx,     // int8 tiles, and all of avx512
};
inline constexpr Isa kAllIsas[] = {Isa::scalar, Isa::avx2, Isa::avx512, Isa::amx};

// The best of this CPU under the limit.
Isa best_isa();

// From now on nothing above `limit` is used: by exact kernels, and, for scalar and avx2, by any code of Highway in the process.
// Other kernels choose AMX or AVX-512 as they did. A limit above what the CPU has changes nothing.
// Thread rule: process-wide; set it before executors are made and while no kernel runs, since a kernel keeps what it was
// made with.
void set_isa_limit(Isa limit);
void clear_isa_limit();

std::string_view name_of(Isa isa);
std::optional<Isa> isa_from_name(std::string_view name);

}  // namespace suanli::engine::exact
