// Any bytes: an error, or a graph that its own text gives back unchanged and that the readers of
// graphs survive.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/graph/cut.h"
#include "suanli/graph/digest.h"
#include "suanli/graph/text_form.h"

using namespace suanli::graph;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const suanli::Result<Graph> graph = parse_text(text, "fuzz");
  if (!graph) return 0;
  const std::string written = to_text(*graph);
  const suanli::Result<Graph> back = parse_text(written, "written");
  SUANLI_CHECK(back.has_value());
  SUANLI_CHECK(to_text(*back) == written);
  SUANLI_CHECK(digest(*back) == digest(*graph));
  const suanli::Result<std::vector<StageNodes>> whole = stages(*graph, {});
  SUANLI_CHECK(whole.has_value() && whole->size() == 1);
  cut_points(*graph);
  step_cost(*graph);
  return 0;
}

std::vector<std::string> suanli_fuzz_seeds() {
  return {"suanli-graph/1\nmicro_batches 4\n",
          // An attribute of each kind: integers, a real, a list, words.
          R"(suanli-graph/1
micro_batches 2
%0 = input x : f32[4x3] @forward block 0
%1 = param w {decay=1, init="normal", std=0.02} : f32[3x5] @forward block 0
%2 = matmul(%0, %1) {ta=0, tb=0} : f32[4x5] @forward block 0
%3 = scale(%2) {factor=0.5} : f32[4x5] @forward block 1
%4 = cast(%3) {dtype="bf16"} : bf16[4x5] @forward block 1
%5 = reduce_to(%3) {shape=[]} : f32[] @forward block 1
%6 = fill() {shape=[3, 5], value=1.0} : f32[3x5] @update block 0
%7 = step_input rate : f32[] @update block all
%8 = mul(%6, %7) : f32[3x5] @update block 0
output loss %5
output half %4
update %1 <- %8
)",
          R"(suanli-graph/1
%0 = input x : f32[4x3] @forward block 0
%1 = state s {init="\x0a\"\\"} : f32[2] @forward block 0
%2 = transpose(%0) {permutation=[1, 0]} : f32[3x4] @forward block 0
%3 = slice(%2) {axis=1, size=2, start=1} : f32[3x2] @forward block 1
%4 = broadcast_to(%3) {shape=[7, 3, 2]} : f32[7x3x2] @forward block 2
%5 = reshape(%4) {shape=[42]} : f32[42] @forward block 2
output y %5
)"};
}
