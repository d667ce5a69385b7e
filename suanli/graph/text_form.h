// The text form of a graph: one line per node, for people to read and diff; parse_text reads it
// back exactly. Grammar and example: docs/formats/graph-text.md.
//
//   suanli-graph/1
//   micro_batches 4
//   %0 = input tokens : i32[64] @forward block 0
//   %1 = param wte {decay=1, init="normal", std=0.02} : f32[256x32] @forward block 0
//   %2 = embedding(%1, %0) : f32[64x32] @forward block 0
//   output hidden %2
#pragma once

#include <string>
#include <string_view>

#include "suanli/base/error.h"
#include "suanli/base/units.h"
#include "suanli/graph/graph.h"

namespace suanli::graph {

// What parse_text accepts at most, so that hostile text costs bounded time and memory.
inline constexpr Bytes kMaxGraphText{std::int64_t{64} << 20};
inline constexpr Bytes kMaxGraphLine{std::int64_t{64} << 10};
inline constexpr NodeId kMaxTextNodes = 1 << 17;
inline constexpr int kMaxTextSources = 1 << 14;
inline constexpr int kMaxTextBlock = 1 << 14;
inline constexpr int kMaxTextOutputs = 1024;
inline constexpr int kMaxTextList = 64;

// Every node in order (dead ones too), then outputs and updates in the order in which they were
// added.
std::string to_text(const Graph& graph);

// The graph that `text` describes. Types are inferred again and must agree with what is written. An
// error's place is "place:line". Code `empty` for no text, `foreign` or `version` for a wrong first
// line, else `graph`.
Result<Graph> parse_text(std::string_view text, std::string_view place);

}  // namespace suanli::graph
