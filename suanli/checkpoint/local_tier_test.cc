#include "suanli/checkpoint/local_tier.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "suanli/base/test_folder.h"
#include "suanli/checkpoint/manifest.h"
#include "suanli/checkpoint/test_snapshot.h"

namespace suanli::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class LocalTierTest : public ::testing::Test {
 protected:
  std::unique_ptr<LocalTier> open(LocalTier::Access access = LocalTier::Access::owner) {
    auto tier = LocalTier::open(run_.path(), access);
    EXPECT_TRUE(tier) << tier.error().to_string();
    return std::move(*tier);
  }
  void save(LocalTier& tier, std::initializer_list<std::int64_t> steps) {
    for (std::int64_t step : steps) {
      const Status status = tier.save(test_snapshot(step));
      ASSERT_TRUE(status) << status.error().to_string();
    }
  }
  static std::vector<std::int64_t> steps(const Tier& tier) {
    std::vector<std::int64_t> result;
    auto infos = tier.list();
    EXPECT_TRUE(infos) << infos.error().to_string();
    for (const SnapshotInfo& info : *infos) result.push_back(info.step);
    return result;
  }
  std::vector<std::string> folders() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(run_ / "checkpoints"))
      names.push_back(entry.path().filename());
    std::ranges::sort(names);
    return names;
  }
  static void overwrite(const std::string& path, const std::string& content) {
    std::ofstream(path, std::ios::binary) << content;
  }
  static void flip_last_byte(const std::string& path) {
    std::string content = *read_file(path);
    content.back() ^= 1;
    overwrite(path, content);
  }
  std::string data(std::int64_t step) { return at(step, "state.safetensors"); }
  std::string manifest(std::int64_t step) { return at(step, "manifest.json"); }
  std::string at(std::int64_t step, const std::string& name) {
    return (fs::path(run_ / "checkpoints") / ("step-0000000" + std::to_string(step)) / name);
  }
  // The error of loading `step`, which must have this code and name this file.
  static Error refusal(const Tier& tier, std::int64_t step, ErrorCode code,
                       const std::string& place) {
    auto loaded = tier.load(step, {});
    if (loaded) return {ErrorCode::usage, "(accepted)", "", ""};
    EXPECT_EQ(name_of(loaded.error().code), name_of(code)) << loaded.error().to_string();
    EXPECT_EQ(loaded.error().place, place);
    EXPECT_NE(loaded.error().next_step, "");
    return loaded.error();
  }

  TestFolder run_;
};

TEST_F(LocalTierTest, RoundTrips) {
  auto tier = open();
  save(*tier, {5, 3, 9});
  for (std::int64_t step : {3, 5, 9}) {
    auto loaded = tier->load(step, {});
    ASSERT_TRUE(loaded) << loaded.error().to_string();
    EXPECT_TRUE(same(*loaded, test_snapshot(step)));
  }
  EXPECT_THAT(folders(), ElementsAre("step-00000003", "step-00000005", "step-00000009"));
  auto infos = open(LocalTier::Access::reader)->list();
  ASSERT_TRUE(infos);
  EXPECT_THAT(steps(*tier), ElementsAre(3, 5, 9));
  EXPECT_EQ((*infos)[2].bytes.value(), static_cast<std::int64_t>(fs::file_size(data(9))));
  EXPECT_EQ((*infos)[2].root, state_root(describe(test_snapshot(9), "").tensors));
  EXPECT_FALSE((*infos)[2].damage);
}

TEST_F(LocalTierTest, TakesStepsOfAnyLengthAndIgnoresOtherNames) {
  auto tier = open();
  save(*tier, {0, 123456789012});
  for (const char* name : {"step-1", "step--0000001", "step-000000010", "step-0000001x", "notes"})
    fs::create_directories(run_ / ("checkpoints/" + std::string(name)));
  EXPECT_THAT(steps(*tier), ElementsAre(0, 123456789012));
  EXPECT_TRUE(tier->load(123456789012, {}));
}

TEST_F(LocalTierTest, LoadsSelectedTensors) {
  auto tier = open();
  save(*tier, {1});
  auto loaded = tier->load(1, [](std::string_view name) { return name == "ids"; });
  ASSERT_TRUE(loaded);
  ASSERT_EQ(loaded->tensors.size(), 1u);
  EXPECT_EQ(loaded->tensors[0].data, test_snapshot(1).tensors[4].data);
  EXPECT_EQ(loaded->meta_json, test_snapshot(1).meta_json);
}

TEST_F(LocalTierTest, SavingAStepAgainReplacesIt) {
  auto tier = open();
  save(*tier, {1});
  Snapshot other = test_snapshot(1, 9);
  ASSERT_TRUE(tier->save(other));
  EXPECT_TRUE(same(*tier->load(1, {}), other));
  EXPECT_THAT(folders(), ElementsAre("step-00000001"));
}

TEST_F(LocalTierTest, AnEmptyRunHasNoSnapshot) {
  auto tier = open(LocalTier::Access::reader);
  EXPECT_THAT(steps(*tier), ElementsAre());
  auto latest = load_latest(*tier, {});
  ASSERT_FALSE(latest);
  EXPECT_EQ(latest.error().code, ErrorCode::not_found);
  EXPECT_THAT(latest.error().next_step, HasSubstr("train until"));
  EXPECT_FALSE(fs::exists(run_ / "checkpoints"));  // a reader changes nothing
}

TEST_F(LocalTierTest, AMissingStepNamesThoseThereAre) {
  auto tier = open();
  save(*tier, {1, 3});
  const Error error = refusal(*tier, 2, ErrorCode::not_found, run_ / "checkpoints");
  EXPECT_THAT(error.message, HasSubstr("no snapshot of step 2"));
  EXPECT_THAT(error.next_step, HasSubstr("1, 3"));
}

TEST_F(LocalTierTest, EachDamageIsOneClearError) {
  auto tier = open();
  save(*tier, {1, 2, 3, 4, 5, 6, 7, 8, 9});
  fs::remove(manifest(1));
  fs::remove(data(2));
  fs::resize_file(data(3), 100);
  flip_last_byte(data(4));
  overwrite(data(5), "");
  overwrite(manifest(6), "");
  std::string edited = *read_file(manifest(7));
  edited[edited.find("f32")] = 'i';
  overwrite(manifest(7), edited);
  overwrite(manifest(8), "PK\x03\x04");
  fs::copy_file(manifest(3), manifest(9), fs::copy_options::overwrite_existing);

  EXPECT_THAT(refusal(*tier, 1, ErrorCode::not_found, manifest(1)).message,
              HasSubstr("step 1 has no manifest.json"));
  EXPECT_THAT(refusal(*tier, 2, ErrorCode::not_found, data(2)).message,
              HasSubstr("step 2 has no state.safetensors"));
  EXPECT_THAT(refusal(*tier, 3, ErrorCode::corrupt, data(3)).message, HasSubstr("has 100 bytes"));
  EXPECT_THAT(refusal(*tier, 4, ErrorCode::corrupt, data(4)).message, HasSubstr("tensor 'mask'"));
  EXPECT_THAT(refusal(*tier, 5, ErrorCode::empty, data(5)).message, HasSubstr("has 0 bytes"));
  EXPECT_THAT(refusal(*tier, 6, ErrorCode::empty, manifest(6)).message, HasSubstr("is empty"));
  EXPECT_THAT(refusal(*tier, 7, ErrorCode::corrupt, manifest(7)).message,
              HasSubstr("its last line says"));
  EXPECT_THAT(refusal(*tier, 8, ErrorCode::foreign, manifest(8)).message,
              HasSubstr("not a suanli manifest"));
  EXPECT_THAT(refusal(*tier, 9, ErrorCode::mismatch, manifest(9)).message,
              HasSubstr("is of step 3 but lies in the folder of step 9"));

  auto latest = load_latest(*tier, {});
  ASSERT_FALSE(latest);
  EXPECT_EQ(latest.error().code, ErrorCode::mismatch);
  EXPECT_THAT(latest.error().message, HasSubstr("none of 9 snapshots can be loaded"));
}

TEST_F(LocalTierTest, LoadLatestFallsBackAndReportsTheDamage) {
  auto tier = open();
  save(*tier, {1, 2, 3, 4});
  flip_last_byte(data(4));
  fs::remove(manifest(3));
  auto latest = load_latest(*tier, {});
  ASSERT_TRUE(latest) << latest.error().to_string();
  EXPECT_TRUE(same(latest->snapshot, test_snapshot(2)));
  ASSERT_EQ(latest->damages.size(), 2u);
  EXPECT_EQ(latest->damages[0].place, data(4));
  EXPECT_EQ(latest->damages[1].place, manifest(3));
}

TEST_F(LocalTierTest, LoadLatestDoesNotGoBackBehindANewerFormat) {
  auto tier = open();
  save(*tier, {1, 2});
  std::string body(internal::unsealed(*read_file(manifest(2))));
  body.replace(body.find("\"version\": 1"), 12, "\"version\": 2");
  overwrite(manifest(2), internal::seal(body));
  auto latest = load_latest(*tier, {});
  ASSERT_FALSE(latest);
  EXPECT_EQ(latest.error().code, ErrorCode::version);
  EXPECT_EQ(latest.error().place, manifest(2));
}

TEST_F(LocalTierTest, PruneKeepsTheNewest) {
  auto tier = open();
  save(*tier, {1, 2, 3, 4, 5});
  ASSERT_TRUE(tier->prune(7));
  EXPECT_THAT(steps(*tier), ElementsAre(1, 2, 3, 4, 5));
  ASSERT_TRUE(tier->prune(2));
  EXPECT_THAT(folders(), ElementsAre("step-00000004", "step-00000005"));
  ASSERT_TRUE(tier->prune(1));
  EXPECT_THAT(folders(), ElementsAre("step-00000005"));
}

TEST_F(LocalTierTest, RemoveTakesOneAway) {
  auto tier = open();
  save(*tier, {1, 2, 3});
  ASSERT_TRUE(tier->remove(2));
  EXPECT_THAT(folders(), ElementsAre("step-00000001", "step-00000003"));
  ASSERT_TRUE(tier->remove(2)) << "it is not there";
  save(*tier, {2});
  EXPECT_THAT(steps(*tier), ElementsAre(1, 2, 3));
}

TEST_F(LocalTierTest, PruneNeverRemovesTheOnlyLoadableSnapshot) {
  auto tier = open();
  save(*tier, {1, 2, 3, 4});
  flip_last_byte(data(4));      // damage that only load() sees
  overwrite(manifest(3), "{");  // damage that list() sees
  ASSERT_TRUE(tier->prune(1));
  EXPECT_THAT(steps(*tier), ElementsAre(2, 3, 4));
  EXPECT_TRUE(same(load_latest(*tier, {})->snapshot, test_snapshot(2)));

  // Another process knows no more than what it can verify.
  ASSERT_TRUE(open()->prune(1));
  EXPECT_THAT(steps(*tier), ElementsAre(2, 3, 4));
  save(*tier, {5});
  ASSERT_TRUE(tier->prune(1));
  EXPECT_THAT(steps(*tier), ElementsAre(5));
}

TEST_F(LocalTierTest, PruneRemovesNothingWhenNothingCanBeLoaded) {
  auto tier = open();
  save(*tier, {1, 2});
  flip_last_byte(data(1));
  flip_last_byte(data(2));
  ASSERT_TRUE(tier->prune(1));
  EXPECT_THAT(steps(*tier), ElementsAre(1, 2));
}

// The states in which a killed process can leave the folder.
TEST_F(LocalTierTest, TheNextOwnerTidiesUp) {
  auto tier = open();
  save(*tier, {1, 2, 3});
  const auto copy = [&](const char* from, const char* to) {
    fs::copy(run_ / ("checkpoints/" + std::string(from)),
             run_ / ("checkpoints/" + std::string(to)));
  };
  copy("step-00000003", "step-00000004.partial");  // killed before the last rename
  fs::create_directories(run_ / "checkpoints/step-00000005.partial");  // killed while writing
  overwrite(run_ / "checkpoints/step-00000005.partial/.state.safetensors.tmp", "half");
  copy("step-00000003", "step-00000003.replaced");  // killed after the new one was in place
  fs::rename(run_ / "checkpoints/step-00000002",    // killed just before
             run_ / "checkpoints/step-00000002.replaced");
  fs::rename(run_ / "checkpoints/step-00000001", run_ / "checkpoints/step-00000001.removed");
  fs::create_directories(run_ / "checkpoints/mine.partial");  // not ours

  const auto before = folders();
  EXPECT_THAT(steps(*open(LocalTier::Access::reader)), ElementsAre(3));
  EXPECT_EQ(folders(), before);
  EXPECT_THAT(steps(*open()), ElementsAre(2, 3));
  EXPECT_THAT(folders(), ElementsAre("mine.partial", "step-00000002", "step-00000003"));
  EXPECT_TRUE(same(*tier->load(2, {}), test_snapshot(2)));
}

TEST_F(LocalTierTest, AFolderInTheWayIsAnError) {
  overwrite(run_ / "checkpoints", "a file");
  auto tier = LocalTier::open(run_.path(), LocalTier::Access::owner);
  ASSERT_FALSE(tier);
  EXPECT_THAT(tier.error().place, HasSubstr(run_ / "checkpoints"));
}

}  // namespace
}  // namespace suanli::checkpoint
