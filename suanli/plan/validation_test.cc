// The planner's promises over published runs: the limits below are those of the project's plan, not of what was reached.
#include "suanli/plan/validation.h"

#include <gmock/gmock.h>

#include <cmath>

#include "suanli/plan/published_figure.h"
#include "suanli/plan/whole_run.h"

namespace suanli::plan {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

Validation of(const std::vector<PublishedRun>& runs) {
  auto validation = validate(runs, AcceleratorTable::built_in(), "runs.csv");
  EXPECT_TRUE(validation) << validation.error().to_string();
  return validation ? *validation : Validation{};
}

const Validation& built_in() {
  static const Validation validation = of(built_in_runs());
  return validation;
}

// As in a file that has only the columns that every such file has, of runs that the planner does not know by name.
PublishedRun bare(const PublishedRun& run) {
  PublishedRun stripped;
  stripped.line = run.line;
  stripped.name = "a " + run.name;
  stripped.device = run.device;
  stripped.source = run.source;
  stripped.quantity = run.quantity;
  stripped.unit = run.unit;
  for (const auto member : {&PublishedRun::value, &PublishedRun::parameters, &PublishedRun::layers, &PublishedRun::width,
                            &PublishedRun::heads, &PublishedRun::context, &PublishedRun::vocab, &PublishedRun::tokens,
                            &PublishedRun::devices, &PublishedRun::peak_tflops, &PublishedRun::tensor, &PublishedRun::pipeline,
                            &PublishedRun::data, &PublishedRun::global_batch})
    stripped.*member = run.*member;
  stripped.left_out = run.left_out;
  return stripped;
}

TEST(Validation, MfuIsWhatThroughputMeans) {
  EXPECT_GE(built_in().mfu_from_throughput.rows, 36u);
  EXPECT_LE(built_in().mfu_from_throughput.median, 0.005);
}

// An MFU is compared in its own unit, whether that is percent or 1.
TEST(Validation, MfuFromThroughputIsInTheUnitOfTheRow) {
  std::vector<PublishedRun> runs = built_in_runs();
  for (PublishedRun& run : runs) {
    if (run.quantity != "mfu" || run.unit != "%") continue;
    run.value /= 100;
    run.unit = "1";
  }
  const Validation validation = validate(runs, AcceleratorTable::built_in(), "runs.csv").value();
  EXPECT_NEAR(validation.mfu_from_throughput.p90, built_in().mfu_from_throughput.p90, 1e-9);
}

TEST(Validation, ARowIsLeftOutByNameAndPublication) {
  PublishedRun run;
  run.name = "GPT-3 mine";
  run.quantity = "days";
  run.tokens = 3e11;
  run.devices = 1024;
  run.source = "our own log";
  EXPECT_EQ(why_left_out(run), "");
  run.source = "Brown et al., arXiv:2005.14165";
  EXPECT_NE(why_left_out(run), "");
}

TEST(Validation, StepsArePredictedWithoutTheirSource) {
  EXPECT_GE(built_in().step.rows, 135u);
  EXPECT_LE(built_in().step.median, 0.10);
  EXPECT_LE(built_in().step.p90, 0.25);
  for (const ValidatedRow& row : built_in().rows)
    EXPECT_EQ(row.leaves_source_out, row.level == Level::step || row.level == Level::run) << row.run.name;
}

TEST(Validation, WholeRunsLieInFourOfFiveIntervals) {
  EXPECT_GE(built_in().run_coverage.rows, 30u);
  EXPECT_GE(built_in().run_coverage.share(), 0.70);
  EXPECT_LE(built_in().run_coverage.share(), 0.90);
  EXPECT_LT(built_in().measured_run_coverage.rows, built_in().run_coverage.rows);
  EXPECT_GE(built_in().measured_run_coverage.share(), 0.70);
  EXPECT_GE(built_in().step_coverage.share(), 0.70);
  EXPECT_LE(built_in().step_coverage.share(), 0.90);
}

TEST(Validation, MemoryAndOperationsAreExact) {
  std::size_t memory = 0;
  for (const ValidatedRow& row : built_in().rows) {
    if (row.level != Level::memory && row.level != Level::flops) continue;
    const bool is_memory = row.level == Level::memory;
    EXPECT_NEAR(row.error, 0, is_memory ? 1e-9 : 0.01) << row.run.name << " " << row.run.quantity;
    memory += is_memory ? 1 : 0;
  }
  EXPECT_EQ(memory, 5u);
}

// With nothing but layout, device and the words of the rows.
TEST(Validation, BareRowsArePredictedNearlyAsWell) {
  std::vector<PublishedRun> runs;
  for (const PublishedRun& run : built_in_runs()) runs.push_back(bare(run));
  const Validation validation = of(runs);
  EXPECT_EQ(validation.rows.size(), built_in().rows.size());
  EXPECT_LE(validation.step.median, 0.12);
  EXPECT_LE(validation.step.p90, 0.30);
  EXPECT_GE(validation.step_coverage.share(), 0.70);
  EXPECT_GE(validation.run_coverage.share(), 0.60);
}

TEST(Validation, OnlyRowsWithAReasonAreLeftOut) {
  EXPECT_EQ(built_in().rows.size() + built_in().left_out.size(), built_in_runs().size());
  EXPECT_EQ(built_in().left_out.size(), 14u);
  for (const LeftOutRow& row : built_in().left_out) {
    EXPECT_THAT(row.reason, Not(IsEmpty()));
    const std::string& quantity = row.run.quantity;
    EXPECT_TRUE(quantity == "cost" || quantity == "days" || quantity == "gpu_hours") << row.run.name;
  }
  PublishedRun run;
  run.name = "GPT-3 175B";
  run.source = "Brown et al., arXiv:2005.14165";
  run.quantity = "days";
  EXPECT_THAT(why_left_out(run), HasSubstr("10,000 devices"));
  run.quantity = "cost";
  EXPECT_THAT(why_left_out(run), HasSubstr("circular"));
  run.quantity = "smiles";
  EXPECT_THAT(why_left_out(run), HasSubstr("no quantity"));
  run.name = "mine";
  run.quantity = "gpu_hours";
  EXPECT_THAT(why_left_out(run), HasSubstr("tokens"));
}

// The tables in step_constants.cc and whole_run.cc are what the data says. After a change: copy the values printed here.
TEST(Validation, TheConstantsInUseAreThoseOfTheFit) {
  const auto found = refit();
  ASSERT_TRUE(found) << found.error().to_string();
  for (const ConstantKind& kind : constant_kinds()) {
    const double fitted = found->constants.*kind.member;
    EXPECT_NEAR(kind.fitted, fitted, 2e-3 * fitted) << kind.key << " is " << fitted;
    // Nowhere does the data ask for what one could not have believed before.
    EXPECT_LT(std::fabs(std::log(fitted / kind.prior)) / kind.spread, 2) << kind.key;
  }
  const Interval table = whole_run_factor(true), &factor = found->run_factor;
  EXPECT_NEAR(table.low, factor.low, 0.01) << factor.low << " " << factor.expected << " " << factor.high;
  EXPECT_NEAR(table.expected, factor.expected, 0.01);
  EXPECT_NEAR(table.high, factor.high, 0.01);
}

TEST(Validation, TheStatedErrorOfStepsIsTheOneFound) {
  const Interval stated = step_time_error(true), &found = built_in().step_spread;
  EXPECT_NEAR(stated.low, found.low, 0.04);
  EXPECT_NEAR(stated.high, found.high, 0.06);
}

TEST(Validation, UnknownPublicationsUseAllConstants) {
  PublishedRun run = built_in_runs().front();
  run.name = "another";
  run.source = "never seen before";
  const Validation validation = of({run});
  ASSERT_EQ(validation.rows.size(), 1u);
  EXPECT_FALSE(validation.rows.front().leaves_source_out);
  EXPECT_EQ(validation.constants, fitted_constants());
}

TEST(Validation, ErrorsNameTheRow) {
  PublishedRun run = built_in_runs().front();
  run.name = "mine";
  run.line = 7;
  run.device = "no such chip";
  run.peak_tflops = 0;
  const auto unknown = validate({run}, AcceleratorTable::built_in(), "runs.csv");
  ASSERT_FALSE(unknown);
  EXPECT_THAT(unknown.error().place, HasSubstr("runs.csv:7"));
  EXPECT_THAT(unknown.error().message, HasSubstr("no such chip"));
}

// A layout that its number of devices contradicts is believed all the same: published figures are full of such.
TEST(Validation, AnUnevenLayoutIsNoError) {
  PublishedRun run = built_in_runs().front();
  run.name = "mine";
  run.tensor = 7;
  run.pipeline = 9;
  run.data = 0;
  EXPECT_EQ(of({run}).rows.size(), 1u);
  run.data = 3;
  EXPECT_EQ(of({run}).rows.size(), 1u);
}

}  // namespace
}  // namespace suanli::plan
