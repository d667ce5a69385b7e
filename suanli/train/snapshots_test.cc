#include "suanli/train/snapshots.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "suanli/base/file.h"
#include "suanli/base/test_folder.h"
#include "suanli/graph/builder.h"

namespace suanli::train {
namespace {

using testing::HasSubstr;

SnapshotMeta some_meta(std::int64_t step) {
  SnapshotMeta meta;
  meta.step = step;
  meta.seed = 42;
  meta.graph = sha256("graph");
  meta.dataset = sha256("data");
  meta.job = "[train]\nsteps = 5\n";
  meta.usage.steps = step;
  meta.usage.tokens = Tokens(1000);
  meta.usage.work.total = Flops(12345.5);
  meta.usage.work.by_op["matmul"] = Flops(12000);
  meta.usage.of(meter::Cause::waiting) = Seconds(0.125);
  meta.loss = 2.25;
  meta.valid_loss = 2.5;
  meta.evaluated_step = step;
  return meta;
}

TEST(SnapshotMeta, ReadsBack) {
  const SnapshotMeta meta = some_meta(7);
  const auto again = parse_meta(print_meta(meta), "meta");
  ASSERT_TRUE(again) << again.error().to_string();
  EXPECT_EQ(again->step, 7);
  EXPECT_EQ(again->seed, 42u);
  EXPECT_EQ(again->graph, meta.graph);
  EXPECT_EQ(again->job, meta.job);
  EXPECT_EQ(again->usage.work.total, meta.usage.work.total);
  EXPECT_EQ(again->usage.work.by_op, meta.usage.work.by_op);
  EXPECT_EQ(again->usage.seconds, meta.usage.seconds);
  EXPECT_EQ(again->valid_loss, 2.5);
  EXPECT_FALSE(again->best_valid_loss.has_value());
  EXPECT_EQ(again->evaluated_step, 7);
}

TEST(SnapshotMeta, AWrongFieldIsNamed) {
  for (const auto& [field, value] : std::map<std::string, nlohmann::json>{{"step", -1},
                                                                          {"step", "7"},
                                                                          {"graph_sha256", "12"},
                                                                          {"usage", nullptr},
                                                                          {"valid_loss", "low"}}) {
    nlohmann::json document = nlohmann::json::parse(print_meta(some_meta(7)));
    document[field] = value;
    const auto wrong = parse_meta(document.dump(), "the place");
    ASSERT_FALSE(wrong) << field;
    EXPECT_EQ(wrong.error().code, ErrorCode::corrupt);
    EXPECT_EQ(wrong.error().place, "the place");
    EXPECT_THAT(wrong.error().message, HasSubstr(field));
    document.erase(field);
    EXPECT_THAT(parse_meta(document.dump(), "p").error().message, HasSubstr("missing"));
  }
  nlohmann::json document = nlohmann::json::parse(print_meta(some_meta(7)));
  document["usage"]["seconds"].erase("waiting");
  EXPECT_THAT(parse_meta(document.dump(), "p").error().message, HasSubstr("waiting"));
  EXPECT_FALSE(parse_meta("[]", "p"));
  EXPECT_FALSE(parse_meta("", "p"));
}

// A state of two parameters.
class SnapshotSaverTest : public testing::Test {
 protected:
  void SetUp() override {
    graph::Builder b(graph_);
    const auto a = b.param("a", graph::f32({4, 8}), "normal", 1);
    b.param("b", graph::f32({8}), "ones");
    ASSERT_TRUE(b.status());
    ASSERT_TRUE(graph_.add_output("a", a));
    ASSERT_TRUE(state_.initialize(graph_, 1));
    auto tier = checkpoint::LocalTier::open(folder_.path(), checkpoint::LocalTier::Access::owner);
    ASSERT_TRUE(tier);
    tier_ = std::move(*tier);
  }
  std::vector<float> read(const std::string& name) {
    std::vector<float> values(static_cast<std::size_t>(state_.find(name)->type.elements()));
    EXPECT_TRUE(state_.read(name, std::as_writable_bytes(std::span(values))));
    return values;
  }
  void write(const std::string& name, float value) {
    const std::vector<float> values(static_cast<std::size_t>(state_.find(name)->type.elements()),
                                    value);
    ASSERT_TRUE(state_.write(name, std::as_bytes(std::span(values))));
  }
  TestFolder folder_;
  graph::Graph graph_;
  std::unique_ptr<engine::Device> device_ = engine::make_cpu_device(1);
  engine::State state_{*device_};
  std::unique_ptr<checkpoint::LocalTier> tier_;
};

// What replicas keep lies in the newest snapshot alone, and that is damaged: the one before is whole without.
TEST_F(SnapshotSaverTest, StateOfReplicasIsTakenByWhoWantsItAndToldToOthers) {
  SnapshotSaver saver(state_, *tier_, 3);
  ASSERT_TRUE(saver.begin(some_meta(1)));
  saver.finish();
  const std::vector<float> error(8, 0.5F);
  ASSERT_TRUE(state_.add("replica/1/error/b", graph::f32({8}), std::as_bytes(std::span(error))));
  ASSERT_TRUE(saver.begin(some_meta(2)));
  saver.finish();

  engine::State alone(*device_), pool(*device_), older(*device_);
  for (engine::State* state : {&alone, &pool, &older}) ASSERT_TRUE(state->initialize(graph_, 2));
  const auto refused = restore_latest(*tier_, alone, "the run", /*parameters_only=*/false);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::mismatch);
  EXPECT_THAT(refused.error().message, HasSubstr("replica/1/error/b"));
  EXPECT_THAT(refused.error().next_step, HasSubstr("--on POOL"));
  ASSERT_TRUE(restore_latest(*tier_, alone, "the run", /*parameters_only=*/true));

  const auto restored = restore_latest_with_replicas(*tier_, pool, "the run");
  ASSERT_TRUE(restored) << restored.error().to_string();
  EXPECT_EQ(restored->meta.step, 2);
  ASSERT_NE(pool.find("replica/1/error/b"), nullptr);

  ASSERT_TRUE(write_file_atomic(folder_ / "checkpoints/step-00000002/manifest.json", as_bytes(std::string("{}"))));
  const auto before = restore_latest_with_replicas(*tier_, older, "the run");
  ASSERT_TRUE(before) << before.error().to_string();
  EXPECT_EQ(before->meta.step, 1);
  EXPECT_EQ(before->damages.size(), 1U);
  EXPECT_EQ(older.find("replica/1/error/b"), nullptr);
}

TEST_F(SnapshotSaverTest, SavesTheStateAsItWasAndRestoresIt) {
  const std::vector<float> a = read("a");
  {
    SnapshotSaver saver(state_, *tier_, 2);
    for (std::int64_t step = 1; step <= 4; ++step) {
      write("b", static_cast<float>(step));
      ASSERT_TRUE(saver.begin(some_meta(step)));
      saver.poll();
    }
    saver.finish();
    EXPECT_EQ(saver.saved_step(), 4);
    const SnapshotSaver::News news = saver.news();
    EXPECT_EQ(news.saved_step, 4);
    EXPECT_TRUE(news.errors.empty());
    EXPECT_FALSE(saver.news().saved_step.has_value()) << "told once";
  }
  EXPECT_EQ(tier_->list()->size(), 2u);
  write("a", 0);
  write("b", 0);
  const auto restored = restore_latest(*tier_, state_, "run", false);
  ASSERT_TRUE(restored) << restored.error().to_string();
  EXPECT_EQ(restored->meta.step, 4);
  EXPECT_EQ(read("a"), a);
  EXPECT_EQ(read("b"), std::vector<float>(8, 4));
}

TEST_F(SnapshotSaverTest, AnotherModelsSnapshotIsRefused) {
  {
    SnapshotSaver saver(state_, *tier_, 1);
    ASSERT_TRUE(saver.begin(some_meta(3)));
  }
  const auto other = [&](const graph::TensorType& type, const std::string& name) {
    graph::Graph graph;
    graph::Builder b(graph);
    b.param("a", graph::f32({4, 8}), "zeros");
    b.param(name, type, "zeros");
    engine::State state(*device_);
    EXPECT_TRUE(state.initialize(graph, 1));
    const auto restored = restore_latest(*tier_, state, "run", false);
    return restored ? Error{ErrorCode::usage, "restored", "", ""} : restored.error();
  };
  EXPECT_EQ(other(graph::f32({8}), "b").message, "restored");
  const Error shape = other(graph::f32({9}), "b");
  EXPECT_EQ(shape.code, ErrorCode::mismatch);
  EXPECT_THAT(shape.message, HasSubstr("f32[9]"));
  EXPECT_THAT(shape.place, HasSubstr("step 3"));
  EXPECT_EQ(other(graph::f32({8}), "c").code, ErrorCode::mismatch);
}

TEST_F(SnapshotSaverTest, AFailedSaveIsToldAndTheNextOneTried) {
  // A tier whose disk is full for a while.
  class FullTier final : public checkpoint::Tier {
   public:
    explicit FullTier(checkpoint::Tier& tier) : tier_(tier) {}
    Status save(const checkpoint::Snapshot& snapshot) override {
      if (snapshot.step == 1)
        return fail(ErrorCode::no_space, "the disk is full", "disk", "make room");
      return tier_.save(snapshot);
    }
    Result<std::vector<checkpoint::SnapshotInfo>> list() const override { return tier_.list(); }
    Result<checkpoint::Snapshot> load(std::int64_t step,
                                      const checkpoint::TensorFilter& filter) const override {
      return tier_.load(step, filter);
    }
    Status prune(int keep) override { return tier_.prune(keep); }

   private:
    checkpoint::Tier& tier_;
  };
  FullTier full(*tier_);
  SnapshotSaver saver(state_, full, 2);
  ASSERT_TRUE(saver.begin(some_meta(1)));
  saver.finish();
  EXPECT_FALSE(saver.saved_step().has_value());
  ASSERT_TRUE(saver.last_error().has_value());
  EXPECT_EQ(saver.last_error()->code, ErrorCode::no_space);
  EXPECT_EQ(saver.news().errors.size(), 1u);
  ASSERT_TRUE(saver.begin(some_meta(2)));
  saver.finish();
  EXPECT_EQ(saver.saved_step(), 2);
}

}  // namespace
}  // namespace suanli::train
