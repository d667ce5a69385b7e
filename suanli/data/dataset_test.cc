#include "suanli/data/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>

#include "suanli/base/test_folder.h"
#include "suanli/data/dataset_for_test.h"

namespace suanli::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A dataset whose training shards hold these texts.
DatasetInfo make_dataset(const std::string& folder, const std::vector<std::string>& train,
                         const std::vector<std::string>& valid = {}) {
  return write_dataset_for_test(folder, train, valid, {{"a.txt", 9, 1}});
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

DatasetInfo example() {
  DatasetInfo info;
  info.of(Split::train) = {{"t.shard", sha256("t"), 10, 2}};
  info.of(Split::valid) = {{"v.shard", sha256("v"), 3, 1}};
  info.sources = {{"a/b.txt", 13, 3}};
  return info;
}

TEST(DatasetJson, PrintsAndParsesBack) {
  const DatasetInfo info = example();
  const Result<DatasetInfo> parsed = parse_dataset(print_dataset(info), "d");
  ASSERT_TRUE(parsed) << parsed.error().to_string();
  EXPECT_EQ(print_dataset(*parsed), print_dataset(info));
  EXPECT_EQ(parsed->digest(), info.digest());
  EXPECT_EQ(parsed->tokens(Split::train), 10u);
  EXPECT_EQ(parsed->documents(Split::valid), 1u);
}

TEST(DatasetJson, PathThatIsNoUtf8StillPrints) {
  DatasetInfo info = example();
  info.sources[0].path = "a\xff.txt";
  EXPECT_TRUE(parse_dataset(print_dataset(info), "d"));
}

TEST(DatasetJson, DigestNamesTheContentAlone) {
  DatasetInfo info = example();
  const Digest digest = info.digest();
  info.of(Split::train)[0].file = "other.shard";
  info.sources.clear();
  EXPECT_EQ(info.digest(), digest);
  info.of(Split::train)[0].digest = sha256("x");
  EXPECT_NE(info.digest(), digest);
  info = example();
  std::swap(info.of(Split::train), info.of(Split::valid));
  EXPECT_NE(info.digest(), digest);
}

struct BadJson {
  const char* name;
  std::string from, to;
  ErrorCode code;
  const char* says;
};

class DatasetJsonBad : public ::testing::TestWithParam<BadJson> {};

TEST_P(DatasetJsonBad, IsOneClearError) {
  const BadJson& bad = GetParam();
  const auto parsed =
      parse_dataset(replaced(print_dataset(example()), bad.from, bad.to), "d/dataset.json");
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().code, bad.code) << parsed.error().to_string();
  EXPECT_THAT(parsed.error().message, HasSubstr(bad.says));
  EXPECT_EQ(parsed.error().place, "d/dataset.json");
  EXPECT_NE(parsed.error().next_step, "");
}

INSTANTIATE_TEST_SUITE_P(
    Cases, DatasetJsonBad,
    ::testing::Values(
        BadJson{"kind", "suanli dataset", "shopping list", ErrorCode::foreign, "suanli dataset"},
        BadJson{"version", "\"version\": 1", "\"version\": 2", ErrorCode::version, "is 2,"},
        BadJson{"no_version", "\"version\"", "\"versoin\"", ErrorCode::version, "missing"},
        BadJson{"syntax", "\"version\": 1", "\"version\": 1,,", ErrorCode::corrupt, "line 3"},
        BadJson{"digest", sha256("t").hex(), sha256("u").hex(), ErrorCode::corrupt, "digest"},
        BadJson{"short_digest", sha256("t").hex(), "12ab", ErrorCode::corrupt, "'12ab'"},
        BadJson{"tokens", "\"tokens\": 10", "\"tokens\": 11", ErrorCode::corrupt, "totals"},
        BadJson{"negative", "\"tokens\": 10", "\"tokens\": -10", ErrorCode::corrupt,
                "'tokens' must be a whole number"},
        BadJson{"huge", "\"tokens\": 10", "\"tokens\": 1e30", ErrorCode::corrupt, "'tokens'"},
        BadJson{"text", "\"t.shard\"", "7", ErrorCode::corrupt, "'file' must be a text"},
        BadJson{"outside", "t.shard", "../t.shard", ErrorCode::corrupt,
                "'../t.shard' is not a plain file name"},
        BadJson{"hidden", "t.shard", ".", ErrorCode::corrupt, "plain file name"},
        BadJson{"twice", "v.shard", "t.shard", ErrorCode::corrupt, "'t.shard' is listed twice"},
        BadJson{"missing", "\"sources\"", "\"sauces\"", ErrorCode::corrupt, "'sources' is missing"},
        BadJson{"document_end", "\"document_end\": 0", "\"document_end\": 1", ErrorCode::corrupt,
                "'document_end' must be 0"},
        BadJson{"vocab", "\"vocab\": 256", "\"vocab\": 0", ErrorCode::corrupt, "digest"}),
    [](const auto& param) { return std::string(param.param.name); });

TEST(DatasetJson, UnknownTokenizerIsUnsupported) {
  DatasetInfo info = example();
  info.tokenizer = "words";
  const auto parsed = parse_dataset(print_dataset(info), "d");
  EXPECT_EQ(parsed.error().code, ErrorCode::unsupported);
  EXPECT_THAT(parsed.error().message, HasSubstr("'words'"));
}

TEST(DatasetJson, EmptyAndDeeplyNestedTextsAreErrors) {
  EXPECT_EQ(parse_dataset("", "d").error().code, ErrorCode::empty);
  EXPECT_EQ(parse_dataset(std::string(1'000'000, '['), "d").error().code, ErrorCode::corrupt);
  EXPECT_EQ(parse_dataset("[]", "d").error().code, ErrorCode::foreign);
}

TEST(Dataset, OpensWhatIsListed) {
  TestFolder folder;
  const DatasetInfo info = make_dataset(folder.path(), {"hello", "world"}, {"!"});
  const Result<Dataset> dataset = Dataset::open(folder.path());
  ASSERT_TRUE(dataset) << dataset.error().to_string();
  EXPECT_EQ(dataset->digest(), info.digest());
  EXPECT_TRUE(dataset->verify());
}

TEST(Dataset, FolderWithoutAListIsNotFound) {
  TestFolder folder;
  const Result<Dataset> dataset = Dataset::open(folder.path());
  EXPECT_EQ(dataset.error().code, ErrorCode::not_found);
  EXPECT_THAT(dataset.error().to_string(), HasSubstr("suanli data load"));
  EXPECT_EQ(dataset.error().place, folder.path());
}

TEST(Dataset, ChangedShardIsRefused) {
  TestFolder folder;
  make_dataset(folder.path(), {"hello"});
  ShardWriter writer = *ShardWriter::create(folder / "train-0.shard", kByteVocab);
  ASSERT_TRUE(writer.append_bytes(as_bytes("HELLO")));
  ASSERT_TRUE(writer.finish());
  const Result<Dataset> dataset = Dataset::open(folder.path());
  EXPECT_EQ(dataset.error().code, ErrorCode::mismatch);
  EXPECT_THAT(dataset.error().place, HasSubstr("train-0.shard"));
}

TEST(Dataset, MissingShardIsNamed) {
  TestFolder folder;
  make_dataset(folder.path(), {"hello", "world"});
  std::filesystem::remove(folder / "train-1.shard");
  const Result<Dataset> dataset = Dataset::open(folder.path());
  EXPECT_EQ(dataset.error().code, ErrorCode::not_found);
  EXPECT_THAT(dataset.error().place, HasSubstr("train-1.shard"));
  EXPECT_THAT(dataset.error().next_step, HasSubstr("restore the shard"));
}

TEST(Dataset, AListWithOtherCountsShowsBoth) {
  TestFolder folder;
  DatasetInfo info = make_dataset(folder.path(), {"hello"});
  info.of(Split::train)[0].tokens = 6;
  ASSERT_TRUE(write_file_atomic(dataset_file(folder.path()), as_bytes(print_dataset(info))));
  const Result<Dataset> dataset = Dataset::open(folder.path());
  EXPECT_EQ(dataset.error().code, ErrorCode::mismatch);
  EXPECT_THAT(dataset.error().message, HasSubstr(" 5 tokens of 256"));
  EXPECT_THAT(dataset.error().message, HasSubstr(" 6 tokens of 256"));
}

TEST(Dataset, FlippedTokenIsFoundByVerify) {
  TestFolder folder;
  make_dataset(folder.path(), {"hello"});
  std::string bytes = *read_file(folder / "train-0.shard");
  bytes[256] = 'j';
  ASSERT_TRUE(write_file_atomic(folder / "train-0.shard", as_bytes(bytes)));
  const Result<Dataset> dataset = Dataset::open(folder.path());
  ASSERT_TRUE(dataset);
  EXPECT_EQ(dataset->verify().error().code, ErrorCode::corrupt);
  EXPECT_THAT(dataset->verify().error().place, HasSubstr("train-0.shard"));
  const std::atomic<bool> stop = true;
  EXPECT_EQ(dataset->verify(&stop).error().code, ErrorCode::interrupted);
}

std::string text_of(std::span<const std::int32_t> tokens) { return {tokens.begin(), tokens.end()}; }

TEST(Windows, AreFixedAndNumberedInShardOrder) {
  TestFolder folder;
  make_dataset(folder.path(), {"abcdefghi", "xyz", "0123", "ABCDEFG"});
  const Dataset dataset = *Dataset::open(folder.path());
  const Result<Windows> windows = Windows::create(dataset, Split::train, 3);
  ASSERT_TRUE(windows);
  // 9 tokens give two windows (8 of them used), 3 none, 4 one, 7 two: the last ends with the shard.
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"abc", "bcd"}, {"def", "efg"}, {"012", "123"}, {"ABC", "BCD"}, {"DEF", "EFG"}};
  ASSERT_EQ(windows->count(), expected.size());
  std::vector<std::int32_t> inputs(3), targets(3);
  for (std::size_t id = 0; id < expected.size(); ++id) {
    ASSERT_TRUE(windows->read(id, inputs, targets));
    EXPECT_EQ(text_of(inputs), expected[id].first);
    EXPECT_EQ(text_of(targets), expected[id].second);
  }
}

// The numbers come from the list alone: what a machine without the shards goes by.
TEST(WindowNumbers, TellEachWindowsPlace) {
  DatasetInfo info;
  for (const std::uint64_t tokens : {10, 0, 3, 4, 7}) info.of(Split::train).push_back({"s", {}, tokens, 1});
  const auto numbers = WindowNumbers::create(info, Split::train, 3, "d");
  ASSERT_TRUE(numbers);
  std::vector<std::pair<std::size_t, std::uint64_t>> places;
  for (WindowId id = 0; id < numbers->count(); ++id) {
    const auto [shard, begin] = numbers->at(id);
    places.emplace_back(shard, begin);
    EXPECT_LE(begin + 4, info.of(Split::train)[shard].tokens);
  }
  const std::vector<std::pair<std::size_t, std::uint64_t>> expected = {{0, 0}, {0, 3}, {0, 6},
                                                                       {3, 0}, {4, 0}, {4, 3}};
  EXPECT_EQ(places, expected);
  EXPECT_EQ(WindowNumbers::create(info, Split::valid, 3, "d").error().place, "d");
}

TEST(Windows, OutliveTheirDataset) {
  TestFolder folder;
  make_dataset(folder.path(), {"abcd"});
  auto dataset = std::make_unique<Dataset>(*Dataset::open(folder.path()));
  const Windows windows = *Windows::create(*dataset, Split::train, 3);
  dataset.reset();
  std::vector<std::int32_t> inputs(3), targets(3);
  ASSERT_TRUE(windows.read(0, inputs, targets));
  EXPECT_EQ(text_of(targets), "bcd");
}

TEST(Windows, TooLongAContextNamesBothLengths) {
  TestFolder folder;
  make_dataset(folder.path(), {"abcd", "abcdefg"});
  const Dataset dataset = *Dataset::open(folder.path());
  EXPECT_EQ(Windows::create(dataset, Split::train, 6)->count(), 1u);
  const auto windows = Windows::create(dataset, Split::train, 7);
  EXPECT_EQ(windows.error().code, ErrorCode::empty);
  EXPECT_THAT(windows.error().message, HasSubstr("context of 7 tokens needs 8"));
  EXPECT_THAT(windows.error().message, HasSubstr("longest shard of split 'train' has 7"));
  EXPECT_EQ(Windows::create(dataset, Split::valid, 1).error().code, ErrorCode::empty);
}

}  // namespace
}  // namespace suanli::data
