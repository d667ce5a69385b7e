#include "suanli/train/codecs.h"

namespace suanli::train {
namespace {

using graph::Codec;

constexpr int kBits[] = {8, 6, 4, 3, 2};

std::vector<std::string> names(std::vector<std::string_view> kinds) {
  std::vector<std::string> list = {"none"};
  for (const std::string_view kind : kinds)
    for (const int bits : kBits) list.push_back(std::string(kind) + std::to_string(bits));
  return list;
}

Codec codec_of(std::string_view name, Codec::Rounding direct_rounding) {
  if (name == "none") return {};
  if (name == "topk") return {.kind = Codec::Kind::top_k};
  const int bits = name.back() - '0';
  name.remove_suffix(1);
  if (name == "aq") return {.kind = Codec::Kind::delta, .bits = bits};
  if (name == "ef") return {.kind = Codec::Kind::feedback, .bits = bits};
  SUANLI_CHECK(name == "direct");
  return {.kind = Codec::Kind::direct, .bits = bits, .rounding = direct_rounding};
}

}  // namespace

std::vector<std::string> forward_codec_names() { return names({"aq", "direct"}); }
std::vector<std::string> backward_codec_names() { return names({"direct"}); }

std::vector<std::string> weight_codec_names() {
  std::vector<std::string> list = names({"ef"});
  list.emplace_back("topk");
  return list;
}

JobCodecs codecs_of(const JobConfig& job) {
  return {codec_of(job.codec.forward, Codec::Rounding::nearest), codec_of(job.codec.backward, Codec::Rounding::stochastic),
          codec_of(job.codec.weights, Codec::Rounding::nearest)};
}

}  // namespace suanli::train
