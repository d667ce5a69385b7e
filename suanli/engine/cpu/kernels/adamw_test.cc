#include "suanli/engine/cpu/op_test_util.h"

namespace suanli::engine {
namespace {

using graph::f32;

constexpr std::int64_t kCount = 40013;

TestBytes random_bytes(std::int64_t count, double low, double high, std::uint64_t seed) {
  return encode(random_ref(f32({count}), low, high, seed));
}
TestBytes scalar(float value) { return bytes_of(std::vector<float>{value}); }

TEST(Adamw, FusedHasTheBitsOfItsParts) {
  const graph::TensorType x = f32({kCount});
  const TestBytes w = random_bytes(kCount, -1, 1, 1), m = random_bytes(kCount, -1, 1, 2),
                  v = random_bytes(kCount, 0, 1, 3), g = random_bytes(kCount, -9, 9, 4);
  const TestBytes gscale = scalar(0.037F), lr = scalar(6e-4F), c1 = scalar(0.271F),
                  c2 = scalar(0.0297F);
  const graph::Attrs attrs = {{"beta1", 0.9}, {"beta2", 0.95}, {"eps", 1e-8}, {"decay", 0.1}};
  const auto part = [&](std::string_view name, const std::vector<TestBytes>& inputs) {
    KernelSpec spec{.name = std::string(name), .inputs = {}, .outputs = {x}, .attrs = attrs};
    for (const TestBytes& bytes : inputs) spec.inputs.push_back(bytes.size() == 4 ? f32({}) : x);
    return run_op(*kernel_for(spec), spec, inputs)[0];
  };
  const TestBytes new_m = part("adamw_m", {m, g, gscale});
  const TestBytes new_v = part("adamw_v", {v, g, gscale});
  const TestBytes new_w = part("adamw_w", {w, new_m, new_v, lr, c1, c2});

  const KernelSpec spec{.name = "adamw",
                        .inputs = {x, x, x, x, f32({}), f32({}), f32({}), f32({})},
                        .outputs = {x, x, x},
                        .attrs = attrs};
  const std::unique_ptr<Kernel> kernel = kernel_for(spec);
  for (const int threads : {1, 2, 3, 4}) {
    const auto out = run_op(*kernel, spec, {w, m, v, g, gscale, lr, c1, c2},
                            {.threads = threads, .in_place = {{0, 0}, {1, 1}, {2, 2}}});
    EXPECT_EQ(out[0], new_w) << threads;
    EXPECT_EQ(out[1], new_m) << threads;
    EXPECT_EQ(out[2], new_v) << threads;
  }
}

TEST(Adamw, ClipScaleKeepsWhatIsNotFinite) {
  const KernelSpec spec{.name = "clip_scale",
                        .inputs = {f32({}), f32({})},
                        .outputs = {f32({})},
                        .attrs = {{"max_norm", 1.0}}};
  const auto clip = [&](float sum) {
    return values_of<float>(run_op(*kernel_for(spec), spec, {scalar(sum), scalar(4)})[0])[0];
  };
  EXPECT_FLOAT_EQ(clip(4), 0.25F);         // norm 0.5
  EXPECT_NEAR(clip(64), 0.25F / 2, 1e-6);  // norm 2
  EXPECT_TRUE(std::isnan(clip(std::nanf(""))));
  EXPECT_EQ(clip(std::numeric_limits<float>::infinity()), 0.0F);
}

TEST(Adamw, AccumulateAddsInPlace) {
  const KernelSpec spec{
      .name = "accumulate", .inputs = {f32({kCount})}, .outputs = {f32({kCount})}, .attrs = {}};
  const TestBytes x = random_bytes(kCount, -1, 1, 5), sum = random_bytes(kCount, -1, 1, 6);
  std::vector<float> expected = values_of<float>(sum);
  const std::vector<float> added = values_of<float>(x);
  for (std::int64_t i = 0; i < kCount; ++i) expected[i] += added[i];
  for (const int threads : {1, 3})
    EXPECT_EQ(run_op(*kernel_for(spec), spec, {x}, {.threads = threads, .preset = {sum}})[0],
              bytes_of(expected));
}

}  // namespace
}  // namespace suanli::engine
