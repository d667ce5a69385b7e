// attention_grad: bf16 on our own AMX kernel where there is AMX, all else on oneDNN tiles.
#include "suanli/engine/cpu/amx.h"
#include "suanli/engine/cpu/amx_attention.h"
#include "suanli/engine/cpu/onednn_attention.h"

namespace suanli::engine {
namespace {

Result<std::unique_ptr<Kernel>> make(const KernelSpec& spec) {
  if (attention_shape(spec).dtype == graph::DType::bf16 && amx::available()) return make_amx_attention_grad(spec);
  return make_onednn_attention_grad(spec);
}

}  // namespace

void register_attention_grad(KernelTable& table) { table.add("attention_grad", make); }

}  // namespace suanli::engine
