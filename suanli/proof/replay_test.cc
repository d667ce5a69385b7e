// Faults in a hidden computation of a run, and how they are found.
#include "suanli/proof/replay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "suanli/engine/cpu/exact/isa.h"
#include "suanli/proof/claims.h"
#include "suanli/train/test_run.h"

namespace suanli::proof {
namespace {

using testing::HasSubstr;
using train::JobConfig;
namespace exact = engine::exact;

constexpr std::int64_t kSteps = 24, kSnapshots = 6, kDigests = 4;

// One run in exact arithmetic, shared by all tests; those that change it work on a copy.
class ReplayTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TestFolder();
    train::write_dataset(*folder_ / "data", train::periodic_text(4000));
    JobConfig job = train::tiny_job(*folder_ / "data", *folder_ / "run");
    job.train.dtype = "exact";
    job.train.steps = kSteps;
    job.checkpoint = {.every = kSnapshots, .keep = 100, .digest_every = kDigests};
    const auto report = train::run_job(job);
    ASSERT_TRUE(report) << report.error().to_string();
  }
  static void TearDownTestSuite() { delete folder_; }
  void TearDown() override { exact::clear_isa_limit(); }

  static std::string run() { return *folder_ / "run"; }
  static std::string copy_of_run(const std::string& name) {
    std::filesystem::copy(run(), *folder_ / name, std::filesystem::copy_options::recursive);
    return *folder_ / name;
  }
  static std::unique_ptr<Replica> replica(const std::string& folder = run(), int threads = 1) {
    auto made = Replica::create(folder, {.threads = threads});
    EXPECT_TRUE(made) << made.error().to_string();
    return made ? std::move(*made) : nullptr;
  }
  static Replay replay_of(Replica& mine, Witness& theirs, std::int64_t from, std::int64_t steps) {
    auto found = replay(mine, theirs, {.from = from, .steps = steps});
    EXPECT_TRUE(found) << found.error().to_string();
    return found.value_or(Replay());
  }

  static inline TestFolder* folder_ = nullptr;
};

// Where a bit is flipped, once a step of the hidden computation.
struct Fault {
  std::string name;
  std::int64_t step = 0;  // while it is made
  std::function<bool(const OpOutput&)> is_here;
  std::int64_t element = 0;
  int bit = 0;
};

OutputVisitor tampering(const Fault& fault, const Replica& replica) {
  return [&fault, &replica](const OpOutput& output, std::span<std::byte> bytes) {
    if (replica.step() + 1 != fault.step || !fault.is_here(output)) return false;
    const std::int64_t bit = fault.element * graph::size_of(output.type.dtype).value() * 8 + fault.bit;
    bytes[static_cast<std::size_t>(bit / 8)] ^= std::byte{1} << (bit % 8);
    return true;
  };
}

std::vector<Fault> faults() {
  const auto is = [](const std::string& op, const std::string& value) {
    return [op, value](const OpOutput& o) { return o.op == op && o.value == value; };
  };
  return {
      {"a weight", 15, is("state", "h.1.mlp.c_fc.weight"), 1234, 20},
      {"an activation", 8, [](const OpOutput& o) { return o.op == "gelu" && o.block == 1 && o.micro_batch == 1; }, 99, 22},
      {"a gradient sum", 21,
       [](const OpOutput& o) { return o.value == "sum" && o.block == 2 && o.micro_batch == 0 && o.type.shape.size() == 2; }, 37,
       31},
      {"a moment", 3, is("state", "h.0.attn.c_proj.weight.adam_m"), 5, 20},
      {"what the last step leaves", kSteps,
       [](const OpOutput& o) { return o.value == "h.0.attn.c_proj.weight.adam_v" && o.op != "state"; }, 2, 20},
  };
}

// Where a description fits several outputs all are hit, and the first is to be named.
TEST_F(ReplayTest, NamesStepOpAndElementOfAFlippedBit) {
  for (const Fault& fault : faults()) {
    SCOPED_TRACE(fault.name);
    const auto mine = replica(), hidden = replica();
    std::optional<OpOutput> hit;
    const OutputVisitor tamper = tampering(fault, *hidden);
    hidden->set_tamper([&](const OpOutput& output, std::span<std::byte> bytes) {
      const bool is_hit = tamper(output, bytes);
      if (is_hit && !hit) hit = output;
      return is_hit;
    });
    ReplicaWitness theirs(*hidden);
    const Replay found = replay_of(*mine, theirs, 0, kSteps);
    ASSERT_TRUE(hit && found.difference);
    EXPECT_EQ(found.difference->step, fault.step);
    EXPECT_EQ(found.difference->last_equal, fault.step - 1);
    ASSERT_TRUE(found.difference->output && found.difference->element);
    EXPECT_EQ(*found.difference->output, *hit) << found.difference->output->to_string() << "\n" << hit->to_string();
    EXPECT_EQ(found.difference->element->first, fault.element);
    EXPECT_EQ(found.difference->element->count, 1);
    // One pass, and from the snapshot before once more.
    EXPECT_LE(found.recomputed_steps, fault.step + kSnapshots);
  }
}

TEST_F(ReplayTest, NamesThemByDigestsThatAnotherMachineSent) {
  const std::vector<Fault> all = faults();
  const Fault& fault = all[1];
  const auto hidden = replica();
  hidden->set_tamper(tampering(fault, *hidden));
  ASSERT_TRUE(hidden->restore(kSnapshots));
  while (hidden->step() < fault.step - 1) ASSERT_TRUE(hidden->advance());
  auto ops = digest_next_step(*hidden);
  ASSERT_TRUE(ops);
  nlohmann::ordered_json text = {
      {"run", run()}, {"step", fault.step}, {"job", hidden->run().digest_at(fault.step).hex()}, {"root", hidden->root().hex()}};
  for (const OpDigest& op : *ops) text["ops"].push_back(json_of(op));
  auto claims = parse_claims(text.dump(), "ops.json");
  ASSERT_TRUE(claims) << claims.error().to_string();
  EXPECT_EQ(claims->ops, *ops);
  ClaimWitness theirs(std::move(*claims), "ops.json");
  const auto mine = replica();
  const Replay found = replay_of(*mine, theirs, kSnapshots, fault.step - kSnapshots);
  ASSERT_TRUE(found.difference && found.difference->output && found.difference->element);
  EXPECT_EQ(found.difference->step, fault.step);
  EXPECT_TRUE(fault.is_here(*found.difference->output)) << found.difference->output->to_string();
  EXPECT_EQ(found.difference->element->first, fault.element);
  EXPECT_EQ(found.difference->element->count, 1);
}

TEST_F(ReplayTest, AnHonestRunIsEqualOnEveryIsaWithAnyThreads) {
  for (const exact::Isa isa : exact::kAllIsas) {
    exact::set_isa_limit(isa);
    for (const int threads : {1, 3}) {
      const auto mine = replica(run(), threads);
      auto theirs = RecordWitness::open(run());
      ASSERT_TRUE(theirs);
      const Replay found =
          replay_of(*mine, **theirs, isa == exact::Isa::scalar ? 18 : 0, isa == exact::Isa::scalar ? 6 : kSteps);
      EXPECT_FALSE(found.difference) << exact::name_of(isa) << " " << found.difference->step;
      EXPECT_EQ(found.compared_figures, found.to - found.from);
      EXPECT_GE(found.compared_roots, 2);
    }
  }
}

TEST_F(ReplayTest, OutputsOfOpsAreTheSameOnEveryIsaWithAnyThreads) {
  std::vector<OpDigest> expected;
  for (const exact::Isa isa : exact::kAllIsas) {
    exact::set_isa_limit(isa);
    for (const int threads : {1, 2}) {
      const auto mine = replica(run(), threads);
      ASSERT_TRUE(mine->restore(12));
      const auto ops = digest_next_step(*mine);
      ASSERT_TRUE(ops);
      if (expected.empty()) expected = *ops;
      EXPECT_EQ(*ops, expected) << exact::name_of(isa);
    }
  }
  std::size_t products = 0;
  for (const OpDigest& op : expected) products += op.output.op == "matmul";
  EXPECT_GT(products, 20U);
}

TEST_F(ReplayTest, StepsMadeOpByOpLeaveTheSameState) {
  const auto fused = replica(), single = replica();
  for (int step = 0; step < 3; ++step) {
    ASSERT_TRUE(fused->advance());
    ASSERT_TRUE(single->advance([](const OpOutput&, std::span<std::byte>) { return false; }));
    EXPECT_EQ(fused->root(), single->root());
    EXPECT_EQ(fused->figures(), single->figures());
  }
}

TEST_F(ReplayTest, ABitFlippedInASnapshotIsNamed) {
  const std::string copy = copy_of_run("flipped");
  const auto tier = checkpoint::LocalTier::open(copy, checkpoint::LocalTier::Access::owner);
  ASSERT_TRUE(tier);
  auto snapshot = (*tier)->load(12, {});
  ASSERT_TRUE(snapshot);
  checkpoint::NamedTensor& tensor = snapshot->tensors[3];
  tensor.data[7 * 4 + 2] ^= std::byte{1};
  ASSERT_TRUE((*tier)->save(*snapshot));
  const auto mine = replica(copy);
  auto theirs = RecordWitness::open(copy);
  ASSERT_TRUE(theirs);
  const Replay found = replay_of(*mine, **theirs, 6, 18);
  ASSERT_TRUE(found.difference && found.difference->output && found.difference->element);
  EXPECT_EQ(found.difference->step, 12);
  EXPECT_EQ(found.difference->sign, "root");
  EXPECT_EQ(found.difference->output->value, tensor.name);
  EXPECT_EQ(found.difference->element->first, 7);
  EXPECT_TRUE(found.difference->is_state_after);
  EXPECT_EQ(found.difference->last_equal, 8);
  // Begun with that very state, it is seen to contradict the digest that the run recorded of it.
  const Replay within = replay_of(*mine, **theirs, 12, 2);
  ASSERT_TRUE(within.difference);
  EXPECT_EQ(within.difference->step, 12);
  EXPECT_EQ(within.recomputed_steps, 0);
  EXPECT_FALSE(within.difference->last_equal);
}

// The hidden run's roots are known at some steps only; what is computed again does not grow with the run.
TEST_F(ReplayTest, RootsLeaveAStretchThatDoesNotGrowWithTheRun) {
  const std::vector<Fault> all = faults();
  for (const Fault& fault : {all[0], all[1], all[2]}) {
    SCOPED_TRACE(fault.name);
    const auto mine = replica(), hidden = replica();
    hidden->set_tamper(tampering(fault, *hidden));
    Roots theirs;
    while (hidden->step() < kSteps) {
      ASSERT_TRUE(hidden->advance());
      if (hidden->step() % kDigests == 0) theirs[hidden->step()] = {hidden->root()};
    }
    auto records = RecordWitness::open(run());
    ASSERT_TRUE(records);
    const Stretch stretch = narrow((*records)->roots(), theirs, 0, kSteps);
    ASSERT_TRUE(stretch.equal && stretch.differs);
    EXPECT_EQ(*stretch.equal, (fault.step - 1) / kDigests * kDigests);
    EXPECT_EQ(*stretch.differs, *stretch.equal + kDigests);
    const std::int64_t from = *mine->nearest(*stretch.equal);
    ReplicaWitness witness(*hidden);
    const Replay found = replay_of(*mine, witness, from, *stretch.differs - from);
    ASSERT_TRUE(found.difference && found.difference->output && found.difference->element);
    EXPECT_EQ(found.difference->step, fault.step);
    EXPECT_TRUE(fault.is_here(*found.difference->output));
    EXPECT_EQ(found.difference->element->first, fault.element);
    EXPECT_LE(found.recomputed_steps, 2 * (kSnapshots + kDigests));
  }
}

TEST_F(ReplayTest, ALieAboutAnOpIsSeenThoughTheStateIsTrue) {
  const auto honest = replica();
  ASSERT_TRUE(honest->restore(6));
  auto ops = digest_next_step(*honest);
  ASSERT_TRUE(ops);
  Claims claims;
  claims.step = 7;
  claims.root = honest->root();
  claims.ops = *ops;
  const auto mine = replica();
  ClaimWitness truth(claims, "ops.json");
  const Replay equal = replay_of(*mine, truth, 6, 1);
  EXPECT_FALSE(equal.difference);
  EXPECT_TRUE(equal.has_compared_ops);
  std::size_t at = 0;
  while (claims.ops[at].output.op != "gelu") ++at;
  claims.ops[at].leaves[0] = sha256("a lie");
  ClaimWitness lie(claims, "ops.json");
  const Replay found = replay_of(*mine, lie, 6, 1);
  ASSERT_TRUE(found.difference && found.difference->output);
  EXPECT_EQ(found.difference->sign, "ops");
  EXPECT_EQ(*found.difference->output, claims.ops[at].output);
  // Half a list does not hide that the root is wrong.
  claims.ops.resize(50);
  claims.root = sha256("another");
  ClaimWitness half(claims, "ops.json");
  const Replay noted = replay_of(*mine, half, 6, 1);
  ASSERT_TRUE(noted.difference);
  EXPECT_EQ(noted.difference->sign, "root");
}

TEST_F(ReplayTest, InputsOfAStepAreComparedToo) {
  JobConfig job = train::tiny_job(*folder_ / "data", *folder_ / "longer");
  job.train.dtype = "exact";
  job.train.steps = 30;
  job.run.dir = *folder_ / "thirty";
  std::atomic<bool> stop = true;
  ASSERT_TRUE(train::train(job, {.resume = false, .stop = &stop, .observer = nullptr, .peak = FlopsPerSecond(1e12)}));
  // The same but for the learning rate, which falls towards another last step.
  const auto mine = replica(), other = replica(job.run.dir);
  while (mine->step() < 4) ASSERT_TRUE(mine->advance());
  auto ops = digest_next_step(*mine);
  ASSERT_TRUE(ops);
  std::size_t inputs = 0;
  for (const OpDigest& op : *ops) inputs += op.output.op == "input" || op.output.op == "step_input";
  EXPECT_EQ(inputs, 2U * 2 + 1) << "tokens and targets of two micro-batches, and lr";
  EXPECT_NE(mine->run().digest_at(5), other->run().digest_at(5));
  EXPECT_THAT(*mine->run().difference_to(other->run(), 0, 5), HasSubstr("learning rate"));
}

TEST_F(ReplayTest, ARunWentOnFromAFlippedBit) {
  // Resumed from a state with another bit, the run's later records are consistent among themselves, and differ from an honest
  // run's from the step on that was made of it.
  const std::string copy = copy_of_run("resumed");
  std::filesystem::remove_all(copy + "/checkpoints/step-00000024");
  std::filesystem::remove_all(copy + "/checkpoints/step-00000018");
  {
    const auto tier = checkpoint::LocalTier::open(copy, checkpoint::LocalTier::Access::owner);
    auto snapshot = (*tier)->load(12, {});
    ASSERT_TRUE(snapshot);
    snapshot->tensors[2].data[4 * 11 + 3] ^= std::byte{1};
    ASSERT_TRUE((*tier)->save(*snapshot));
  }
  auto description = train::describe_run(copy);
  ASSERT_TRUE(description);
  JobConfig job = description->job;
  job.run.dir = copy;
  const auto report = train::run_job(job, /*resume=*/true);
  ASSERT_TRUE(report) << report.error().to_string();
  auto honest = RecordWitness::open(run()), other = RecordWitness::open(copy);
  ASSERT_TRUE(honest && other);
  const Stretch stretch = narrow((*honest)->roots(), (*other)->roots(), 0, kSteps);
  EXPECT_EQ(stretch.equal, 8);
  EXPECT_EQ(stretch.differs, 12);
  const auto mine = replica();
  const Replay found = replay_of(*mine, **other, 6, 6);
  ASSERT_TRUE(found.difference && found.difference->element);
  EXPECT_EQ(found.difference->step, 12);
  EXPECT_EQ(found.difference->element->first, 11);
}

TEST_F(ReplayTest, ARunThatWasMadeLongerIsEqual) {
  // The learning rate falls towards the last step that was known when a step was made.
  JobConfig job = train::tiny_job(*folder_ / "data", *folder_ / "longer");
  job.train.dtype = "exact";
  ASSERT_TRUE(train::run_job(job));
  job.train.steps = 14;
  ASSERT_TRUE(train::run_job(job, /*resume=*/true));
  const auto mine = replica(job.run.dir);
  auto theirs = RecordWitness::open(job.run.dir);
  ASSERT_TRUE(theirs);
  const Replay found = replay_of(*mine, **theirs, 0, 14);
  EXPECT_FALSE(found.difference) << found.difference->step;
  EXPECT_EQ(found.compared_figures, 14);
}

TEST_F(ReplayTest, AFigureThatWasEditedIsNamed) {
  const std::string copy = copy_of_run("edited");
  auto text = read_file(copy + "/metrics.jsonl", Bytes(1 << 20));
  ASSERT_TRUE(text);
  const auto line = text->find("\"step\":10,\"loss\":");
  ASSERT_NE(line, std::string::npos);
  (*text)[text->find('.', line) + 3] ^= 1;
  ASSERT_TRUE(write_file_atomic(copy + "/metrics.jsonl", as_bytes(*text)));
  const auto mine = replica(copy);
  auto theirs = RecordWitness::open(copy);
  ASSERT_TRUE(theirs);
  const Replay found = replay_of(*mine, **theirs, 0, kSteps);
  ASSERT_TRUE(found.difference);
  EXPECT_EQ(found.difference->step, 10);
  EXPECT_EQ(found.difference->sign, "loss");
  EXPECT_EQ(found.difference->last_equal, 8);
  EXPECT_FALSE(found.difference->output) << "records tell of states only";
}

TEST_F(ReplayTest, ErrorsNameWhatIsThere) {
  const auto mine = replica();
  const Status missing = mine->restore(13);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::not_found);
  EXPECT_THAT(missing.error().to_string(), HasSubstr("0, 6, 12, 18, 24"));
  EXPECT_EQ(mine->nearest(13), 12);
  EXPECT_EQ(mine->nearest(5), 0);
  EXPECT_FALSE(Replica::create(*folder_ / "nowhere"));
  train::write_dataset(*folder_ / "other", train::periodic_text(4000, "another text. "));
  const auto other = Replica::create(run(), {.data = *folder_ / "other"});
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, ErrorCode::mismatch);
  EXPECT_THAT(other.error().to_string(), HasSubstr("--data"));
  Claims claims;
  claims.step = 7;
  claims.ops.resize(1);
  claims.ops[0].output.op = "unheard";
  ClaimWitness theirs(claims, "ops.json");
  const Replay misfit = replay_of(*mine, theirs, 6, 1);
  ASSERT_TRUE(misfit.difference) << "its root is wrong too";
  ASSERT_EQ(misfit.notes.size(), 1U);
  EXPECT_THAT(misfit.notes[0].to_string(), HasSubstr("1 outputs of step 7"));
  std::atomic<bool> stop = true;
  const auto stopped = replay(*mine, theirs, {.from = 6, .steps = 1, .on_step = {}, .stop = &stop});
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, ErrorCode::interrupted);
}

TEST(Narrow, NamesTheFirstStepThatDiffers) {
  Roots mine, theirs;
  for (std::int64_t step = 0; step <= 1000; ++step) mine[step] = theirs[step] = {sha256(std::to_string(step))};
  theirs.erase(700);
  EXPECT_FALSE(narrow(mine, theirs, 0, 1000).differs);
  EXPECT_EQ(narrow(mine, theirs, 0, 1000).equal, 1000);
  EXPECT_EQ(narrow(mine, theirs, 0, 1000).compared, 1000);
  for (std::int64_t step = 700; step <= 1000; ++step) mine[step] = {sha256("else")};
  const Stretch stretch = narrow(mine, theirs, 0, 1000);
  EXPECT_EQ(stretch.equal, 699);
  EXPECT_EQ(stretch.differs, 701) << "one of them does not know 700";
  EXPECT_EQ(narrow(mine, theirs, 900, 1000).equal, std::nullopt);
  EXPECT_EQ(narrow(mine, theirs, 900, 1000).differs, 900);
  EXPECT_EQ(narrow({}, theirs, 0, 1000).differs, std::nullopt);
}

TEST(Narrow, SeesWhatDoesNotLast) {
  Roots mine, theirs;
  for (const std::int64_t step : {2, 4, 6, 8}) mine[step] = theirs[step] = {sha256(std::to_string(step))};
  theirs[4] = {sha256("changed afterwards")};
  EXPECT_EQ(narrow(mine, theirs, 0, 8).differs, 4);
  theirs[4] = mine[4];
  mine[6].push_back(sha256("a second word"));
  EXPECT_EQ(narrow(mine, theirs, 0, 8).differs, 6);
  EXPECT_EQ(narrow(mine, theirs, 0, 8).equal, 4);
}

}  // namespace
}  // namespace suanli::proof
