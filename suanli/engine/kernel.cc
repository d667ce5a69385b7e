#include "suanli/engine/kernel.h"

namespace suanli::engine {

#define SUANLI_KERNEL_FILE(stem) void register_##stem(KernelTable& table);
#include "kernel_files.inc"
#undef SUANLI_KERNEL_FILE

void KernelTable::add(std::string_view name, KernelFactory factory) {
  SUANLI_CHECK(find(name) == nullptr);
  factories_.emplace_back(name, factory);
}

KernelFactory KernelTable::find(std::string_view name) const {
  for (const auto& [known, factory] : factories_)
    if (known == name) return factory;
  return nullptr;
}

std::vector<std::string_view> KernelTable::names() const {
  std::vector<std::string_view> names;
  for (const auto& entry : factories_) names.push_back(entry.first);
  return names;
}

const KernelTable& cpu_kernels() {
  static const KernelTable table = [] {
    KernelTable all;
#define SUANLI_KERNEL_FILE(stem) register_##stem(all);
#include "kernel_files.inc"
#undef SUANLI_KERNEL_FILE
    return all;
  }();
  return table;
}

}  // namespace suanli::engine
