#include "suanli/plan/accelerators.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace suanli::plan {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kDevice =
    "[[device]]\nname = \"X-1\"\naliases = [\"X\"]\nsource = \"its maker\"\nbf16_dense_tflops = 100\n";

Error error_of(const std::string& text) {
  AcceleratorTable table;
  const Status added = table.add(text, "devices.toml");
  EXPECT_FALSE(added.has_value()) << text;
  return added ? Error{} : added.error();
}

TEST(BuiltInTable, EveryFigureHasASourceAndIsPlausible) {
  const AcceleratorTable table = AcceleratorTable::built_in();
  EXPECT_GE(table.all().size(), 23U);
  for (const Accelerator& device : table.all()) {
    for (const auto& [dtype, peak] : device.dense_peak) {
      EXPECT_FALSE(peak.source.empty());
      EXPECT_GE(peak.value.value(), 30e12) << device.name << dtype;
      EXPECT_LE(peak.value.value(), 6e15) << device.name << dtype;
    }
    if (device.measured_matmul) {
      EXPECT_LT(device.measured_matmul->value.value(), device.dense_peak.at("bf16").value.value()) << device.name;
    }
    if (device.sparse_bf16_peak) {
      EXPECT_NEAR(device.sparse_bf16_peak->value / device.dense_peak.at("bf16").value, 2, 0.03) << device.name;
    }
    ASSERT_TRUE(device.memory && device.node_link && device.cluster_link) << device.name;
    EXPECT_LE(device.cluster_link->value, device.node_link->value) << device.name;
  }
}

TEST(BuiltInTable, HoldsTheDataSheets) {
  const AcceleratorTable table = AcceleratorTable::built_in();
  const Accelerator h100 = table.find("H100").value();
  EXPECT_EQ(h100.name, "H100-SXM-80GB");
  EXPECT_EQ(h100.dense_peak.at("bf16").value, FlopsPerSecond(989e12));
  EXPECT_EQ(h100.dense_peak.at("fp8").value, FlopsPerSecond(1979e12));
  EXPECT_EQ(h100.power->value, Watts(700));
  EXPECT_EQ(h100.memory->value, Bytes(std::int64_t{80} << 30));
  EXPECT_EQ(h100.price->low, Dollars(22'000));
  EXPECT_EQ(table.find("V100").value().dense_peak.count("bf16"), 0U) << "it has none";
  EXPECT_EQ(table.find("A100").value().measured_matmul->value, FlopsPerSecond(271.2e12));
}

TEST(Find, KnowsAliasesWhateverTheirCaseAndMarks) {
  const AcceleratorTable table = AcceleratorTable::built_in();
  for (const char* name : {"h100", "H100-80GB-SXM", "h100 sxm 80gb", "H100_SXM"})
    EXPECT_EQ(table.find(name).value().name, "H100-SXM-80GB") << name;
  EXPECT_EQ(table.find("Ampere (A100 class)").value().name, "A100-SXM-80GB");
  EXPECT_EQ(table.find("TPU v4").value().name, "TPU-v4");
  const Error error = table.find("H10O").error();
  EXPECT_EQ(error.code, ErrorCode::usage);
  EXPECT_THAT(error.message, AllOf(HasSubstr("'H10O'"), HasSubstr("did you mean 'H100'")));
  EXPECT_THAT(table.find("").error().next_step, HasSubstr("B200-SXM-180GB"));
}

TEST(Add, ReplacesADeviceOfTheSameNameAsAWhole) {
  AcceleratorTable table = AcceleratorTable::built_in();
  const std::size_t before = table.all().size();
  ASSERT_TRUE(table.add("[[device]]\nname = \"h100 sxm 80gb\"\nsource = \"mine\"\nbf16_dense_tflops = 900\n", "mine.toml"));
  EXPECT_EQ(table.all().size(), before);
  const Accelerator h100 = table.find("H100-SXM-80GB").value();
  EXPECT_EQ(h100.dense_peak.at("bf16").source, "mine");
  EXPECT_FALSE(h100.memory.has_value());
  ASSERT_TRUE(table.add(kDevice, "mine.toml"));
  EXPECT_EQ(table.find("x").value().name, "X-1");
  ASSERT_TRUE(table.add("[[device]]\nname = \"A100\"\nsource = \"mine\"\nbf16_dense_tflops = 1\n", "mine.toml"));
  EXPECT_EQ(table.find("A100").value().name, "A100") << "a name goes before an alias";
}

TEST(Add, AFigureMayHaveASourceOfItsOwn) {
  AcceleratorTable table;
  ASSERT_TRUE(table.add(std::string(kDevice) + "power_w = { value = 300, source = \"a meter\" }\nmemory_gib = 24\n", "x.toml"));
  const Accelerator device = table.find("X").value();
  EXPECT_EQ(device.power->source, "a meter");
  EXPECT_EQ(device.memory->source, "its maker");
  EXPECT_EQ(device.per_node, 8);
}

TEST(Add, RefusesWithLineKeyAndValue) {
  const struct {
    std::string text, place, message;
  } cases[] = {
      {"", "devices.toml", "no [[device]]"},
      {"[[device]]\n", "devices.toml:1", "needs a 'name'"},
      {"[device]\nname = \"X\"\n", "devices.toml:1", "[[device]]"},
      {"[[device]\n", "devices.toml:1", "not valid TOML"},
      {"[[devices]]\n", "devices.toml:1", "no key 'devices', did you mean 'device'"},
      {std::string(kDevice) + "memory_gb = 80\n", "devices.toml:6", "no key 'memory_gb', did you mean 'memory_gib'"},
      {std::string(kDevice) + "power_w = -1\n", "devices.toml:6", "'power_w' should be a number above 0"},
      {std::string(kDevice) + "power_w = 0\n", "devices.toml:6", "'power_w'"},
      {std::string(kDevice) + "power_w = nan\n", "devices.toml:6", "'power_w'"},
      {std::string(kDevice) + "power_w = inf\n", "devices.toml:6", "'power_w'"},
      {std::string(kDevice) + "power_w = 1e300\n", "devices.toml:6", "up to 1e9"},
      {std::string(kDevice) + "power_w = \"700 W\"\n", "devices.toml:6", "'power_w'"},
      {std::string(kDevice) + "power_w = { value = 3 }\n", "devices.toml:6", "both a value and a source"},
      {std::string(kDevice) + "power_w = { value = 3, sorce = \"x\" }\n", "devices.toml:6", "did you mean 'source'"},
      {std::string(kDevice) + "per_node = 1.5\n", "devices.toml:6", "whole number"},
      {std::string(kDevice) + "price_usd = 5\n", "devices.toml:6", "'price_usd'"},
      {std::string(kDevice) + "price_usd = { low = 5, high = 4 }\n", "devices.toml:6", "above 'high'"},
      {std::string(kDevice) + "price_usd = { low = 5, high = 6, year = 5 }\n", "devices.toml:6", "'year'"},
      {"[[device]]\nname = \"X\"\nbf16_dense_tflops = 1\n", "devices.toml:3", "has no source"},
      {"[[device]]\nname = \"X\"\nsource = \"s\"\nmemory_gib = 1\n", "devices.toml:1", "has no peak"},
      {"[[device]]\nname = \"...\"\nsource = \"s\"\nbf16_dense_tflops = 1\n", "devices.toml:2", "a letter or a digit"},
      {"[[device]]\nname = 5\n", "devices.toml:2", "'name' should be a text"},
      {std::string(kDevice) + "[[device]]\nname = \"Y\"\naliases = [\"x\"]\nsource = \"s\"\nbf16_dense_tflops = 1\n",
       "devices.toml:6", "given twice"},
      {std::string((1 << 20) + 1, '#'), "devices.toml", "more than 1 MiB"},
  };
  for (const auto& each : cases) {
    const Error error = error_of(each.text);
    EXPECT_EQ(error.code, ErrorCode::config);
    EXPECT_EQ(error.place, each.place) << each.text;
    EXPECT_THAT(error.message, HasSubstr(each.message)) << each.text;
    EXPECT_FALSE(error.next_step.empty());
  }
}

}  // namespace
}  // namespace suanli::plan
