#include "suanli/plan/kernel_class.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "suanli/engine/compile.h"
#include "suanli/model/gpt.h"

namespace suanli::plan {
namespace {

using ::testing::ElementsAre;

engine::Program small_gpt(engine::Arithmetic arithmetic, std::int64_t micro_batches = 1) {
  const model::GptConfig config{.layers = 1, .heads = 2, .width = 128, .context = 32, .vocab = 100};
  const auto graph = model::gpt_training_graph(config, 4, micro_batches, {});
  EXPECT_TRUE(graph);
  auto program = engine::compile(*graph, {.arithmetic = arithmetic});
  EXPECT_TRUE(program);
  return std::move(*program);
}

// Of all calls of the kind: its sizes, without those that come twice.
std::set<std::vector<double>> sizes_of(const engine::Program& program, const std::string& kind) {
  std::set<std::vector<double>> found;
  for (const auto* calls : {&program.forward, &program.backward, &program.update})
    for (const engine::KernelCall& call : *calls)
      if (const CallClass each = classify(call); each.kind == kind) found.insert(each.sizes);
  return found;
}

TEST(KernelClass, ProductsOfALayerAreToldApartByDirectionAndEpilogue) {
  const engine::Program program = small_gpt(engine::Arithmetic::f32);
  EXPECT_THAT(sizes_of(program, "matmul forward curve"), ElementsAre(std::vector<double>{128, 512, 128})) << "GELU";
  EXPECT_THAT(sizes_of(program, "matmul forward map"),
              ElementsAre(std::vector<double>{128, 128, 128}, std::vector<double>{128, 128, 512},
                          std::vector<double>{128, 384, 128}));
  EXPECT_THAT(sizes_of(program, "matmul input gradient curve"), ElementsAre(std::vector<double>{128, 512, 128})) << "of GELU";
  EXPECT_TRUE(sizes_of(program, "matmul weight gradient").contains({512, 128, 128}));
  EXPECT_THAT(sizes_of(program, "attention"), ElementsAre(std::vector<double>{8, 32, 64}));
  EXPECT_THAT(sizes_of(program, "attention_grad"), ElementsAre(std::vector<double>{8, 32, 64}));
}

TEST(KernelClass, EveryCallHasSizesOfAtLeastOneAndItsKindSaysWhetherItIsAProduct) {
  for (const auto arithmetic : {engine::Arithmetic::f32, engine::Arithmetic::bf16}) {
    const engine::Program program = small_gpt(arithmetic, 2);
    for (const auto* calls : {&program.forward, &program.backward, &program.update})
      for (const engine::KernelCall& call : *calls) {
        const CallClass found = classify(call);
        EXPECT_FALSE(found.sizes.empty()) << found.kind;
        for (const double size : found.sizes) EXPECT_GE(size, 1) << found.kind;
        EXPECT_EQ(found.is_product, is_product_kind(found.kind)) << found.kind;
        EXPECT_EQ(found.flops, call.flops);
      }
  }
}

TEST(KernelClass, ALookUpMovesItsRowsNotItsTable) {
  const engine::Program program = small_gpt(engine::Arithmetic::f32);
  for (const engine::KernelCall& call : program.forward)
    if (call.spec.name == "embedding") {
      EXPECT_EQ(classify(call).bytes, 2 * 4.0 * 128 * 128);
      return;
    }
  ADD_FAILURE() << "no embedding";
}

TEST(KernelClass, AGradientOfRowsThatIsAddedMovesRowsAndIsAnotherKind) {
  const engine::Program once = small_gpt(engine::Arithmetic::f32), added = small_gpt(engine::Arithmetic::f32, 2);
  EXPECT_THAT(sizes_of(once, "embedding_grad"), ElementsAre(std::vector<double>{4.0 * (128 + 128 * 128 + 100 * 128)}));
  EXPECT_THAT(sizes_of(added, "embedding_grad map"), ElementsAre(std::vector<double>{3 * 4.0 * 128 * 128}));
}

TEST(KernelClass, RelativesAreNearestFirst) {
  EXPECT_EQ(related_kinds("matmul forward curve").front(), "matmul forward");
  EXPECT_EQ(related_kinds("layer_norm map").front(), "layer_norm");
  for (const std::string kind : {"matmul forward", "region map", "adamw"})
    for (const std::string& each : related_kinds(kind)) EXPECT_NE(each, kind);
}

}  // namespace
}  // namespace suanli::plan
