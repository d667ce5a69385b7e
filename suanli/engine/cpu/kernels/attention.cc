// attention and attention_stats: bf16 on our own AMX kernel where there is AMX, all else on oneDNN tiles.
#include "suanli/engine/cpu/amx.h"
#include "suanli/engine/cpu/amx_attention.h"
#include "suanli/engine/cpu/onednn_attention.h"

namespace suanli::engine {
namespace {

Result<std::unique_ptr<Kernel>> make(const KernelSpec& spec) {
  if (attention_shape(spec).dtype == graph::DType::bf16 && amx::available()) return make_amx_attention(spec);
  return make_onednn_attention(spec);
}

}  // namespace

void register_attention(KernelTable& table) {
  table.add("attention", make);
  table.add("attention_stats", make);
}

}  // namespace suanli::engine
