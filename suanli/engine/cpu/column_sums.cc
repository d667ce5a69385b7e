#include "suanli/engine/cpu/column_sums.h"

#include <algorithm>
#include <utility>

namespace suanli::engine {
namespace {

class WithSums final : public Kernel {
 public:
  WithSums(std::unique_ptr<Kernel> product, std::unique_ptr<Kernel> sums, std::size_t sums_output)
      : product_(std::move(product)), sums_(std::move(sums)), sums_output_(sums_output) {}
  void run(const KernelArgs& args) const override {
    product_->run(args);
    sums_->run({args.inputs + 1, args.outputs + sums_output_, args.scratch, args.pool});
  }
  Bytes scratch(int workers) const override { return std::max(product_->scratch(workers), sums_->scratch(workers)); }
  bool in_place(int input, int output) const override { return product_->in_place(input, output); }
  std::string implementation() const override { return product_->implementation() + "; sums: " + sums_->implementation(); }

 private:
  std::unique_ptr<Kernel> product_, sums_;
  std::size_t sums_output_;
};

Result<std::unique_ptr<Kernel>> make_sums(const KernelSpec& spec) {
  const std::vector<std::int64_t> shape = {spec.inputs[1].shape[1]};
  const KernelSpec sums{.name = "reduce_to",
                        .inputs = {spec.inputs[1]},
                        .outputs = {spec.outputs.back()},
                        .attrs = {{"shape", shape}}};
  return cpu_kernels().find("reduce_to")(sums);
}

}  // namespace

Result<std::unique_ptr<Kernel>> with_column_sums(std::unique_ptr<Kernel> product, const KernelSpec& spec) {
  SUANLI_ASSIGN_OR_RETURN(std::unique_ptr<Kernel> sums, make_sums(spec));
  return std::make_unique<WithSums>(std::move(product), std::move(sums), spec.outputs.size() - 1);
}

}  // namespace suanli::engine
