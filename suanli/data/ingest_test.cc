#include "suanli/data/ingest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "suanli/base/file.h"
#include "suanli/base/philox.h"
#include "suanli/base/test_folder.h"
#include "suanli/data/compress_for_test.h"
#include "suanli/data/dataset.h"

namespace suanli::data {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class Ingest : public ::testing::Test {
 protected:
  std::string put(const std::string& name, const std::string& content) {
    const std::string path = folder_ / name;
    fs::create_directories(fs::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }
  Result<IngestReport> load(const std::vector<std::string>& inputs) {
    options_.out = out_;
    return ingest(inputs, options_);
  }
  // All tokens of a split as text, with each end of document as '|'.
  std::string content(Split split) {
    const Result<Dataset> dataset = Dataset::open(out_);
    if (!dataset) return dataset.error().to_string();
    EXPECT_TRUE(dataset->verify());
    std::string text;
    for (const ShardEntry& entry : dataset->info().of(split)) {
      const Shard shard = *Shard::open(out_ + "/" + entry.file);
      text.append(reinterpret_cast<const char*>(shard.token_bytes().data()),
                  shard.token_bytes().size());
    }
    std::replace(text.begin(), text.end(), '\0', '|');
    return text;
  }
  std::string all() { return content(Split::train) + content(Split::valid); }
  std::size_t files_in_out() {
    std::size_t count = 0;
    for (const auto& entry : fs::directory_iterator(out_))
      count += !entry.path().filename().string().starts_with('.');
    return count;
  }

  TestFolder folder_;
  std::string out_ = folder_ / "out";
  IngestOptions options_;
};

TEST_F(Ingest, PlainFilesAreDocumentsInTheOrderNamed) {
  options_.valid_fraction = 0;
  const auto report = load({put("b.txt", "second"), put("a.txt", "first")});
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_EQ(content(Split::train), "second|first|");
  EXPECT_EQ(content(Split::valid), "");
  EXPECT_EQ(report->documents, 2u);
  EXPECT_EQ(report->bytes_in.value(), 11);
  EXPECT_EQ(report->bytes_text.value(), 11);
  EXPECT_EQ(report->tokens.value(), 13);
  EXPECT_EQ(report->digest, Dataset::open(out_)->digest());
}

TEST_F(Ingest, FoldersAreWalkedInSortedOrder) {
  put("in/b.txt", "2");
  put("in/a/z.txt", "1");
  put("in/c.jsonl", "{\"text\":\"3\"}\n{\"text\":\"4\"}");
  put("in/.hidden/x.txt", "no");
  put("in/.git", "no");
  fs::create_directory_symlink(folder_ / "in/a", folder_ / "in/link");
  fs::create_symlink("nowhere", folder_ / "in/broken");
  const auto report = load({folder_ / "in"});
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_EQ(all(), "1|2|3|4|");
  EXPECT_EQ(report->skipped.at("hidden name"), 2u);
  EXPECT_EQ(report->skipped.at("link to a folder"), 1u);
  EXPECT_EQ(report->skipped.at("not a regular file"), 1u);
}

TEST_F(Ingest, OutputInsideTheInputIsNotRead) {
  put("in/a.txt", "text");
  out_ = folder_ / "in/data";
  ASSERT_TRUE(load({folder_ / "in"}));
  options_.overwrite = true;
  const auto again = load({folder_ / "in"});
  ASSERT_TRUE(again) << again.error().to_string();
  EXPECT_EQ(again->documents, 1u);
  EXPECT_EQ(again->skipped.at("output folder"), 1u);
}

TEST_F(Ingest, CompressionChangesNothing) {
  const std::string text = "a text of some length\n",
                    lines = "{\"text\":\"x\"}\n{\"text\":\"y\"}\n";
  const auto report =
      load({put("a.txt.gz", gzip(text) + gzip("more")), put("a.zst", zstd(text)),
            put("b.jsonl.gz", gzip(lines)),
            put("b.jsonl.zst", zstd("{\"text\":\"p\"}\n{\"te") + zstd("xt\":\"q\"}"))});
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_EQ(all(), text + "more|" + text + "|x|y|p|q|");
}

TEST_F(Ingest, EmptyDocumentsAreSkippedAndCounted) {
  const auto report =
      load({put("a.txt", ""), put("b.jsonl", "{\"text\":\"\"}\n\n \r\n{\"text\":\"x\"}\n"),
            put("c.gz", gzip(""))});
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_EQ(all(), "x|");
  EXPECT_EQ(report->skipped.at("empty document"), 3u);
  EXPECT_EQ(report->skipped.at("blank line"), 2u);
}

TEST_F(Ingest, NoTextAtAllIsEmpty) {
  fs::create_directories(folder_ / "nothing");
  for (const std::string& input : {put("a.txt", ""), put("b.jsonl", "\n\n"), folder_ / "nothing"}) {
    const auto report = load({input});
    ASSERT_FALSE(report) << input;
    EXPECT_EQ(report.error().code, ErrorCode::empty);
    EXPECT_EQ(Dataset::open(out_).error().code, ErrorCode::not_found);
  }
}

TEST_F(Ingest, ErrorsNameThePlace) {
  const std::string good = put("a.txt", "good");
  const auto missing = load({good, folder_ / "none.txt"});
  EXPECT_EQ(missing.error().code, ErrorCode::not_found);
  EXPECT_EQ(missing.error().place, folder_ / "none.txt");
  const auto line = load({good, put("b.jsonl", "{\"text\":\"1\"}\n\n{\"text\":oops}\n")});
  EXPECT_EQ(line.error().code, ErrorCode::corrupt);
  EXPECT_THAT(line.error().to_string(), HasSubstr("b.jsonl:3: "));
  EXPECT_THAT(line.error().to_string(), HasSubstr("oops"));
  options_.jsonl_field = "body";
  const auto field = load({put("c.jsonl.gz", gzip("{\"text\":\"1\"}"))});
  EXPECT_EQ(field.error().code, ErrorCode::foreign);
  EXPECT_THAT(field.error().to_string(),
              HasSubstr("c.jsonl.gz:1: this line has no field 'body', its fields are: text"));
  const auto cut = load({good, put("d.gz", gzip("text").substr(0, 12))});
  EXPECT_EQ(cut.error().code, ErrorCode::corrupt);
  EXPECT_THAT(cut.error().place, HasSubstr("d.gz"));
  const std::string pipe = folder_ / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(load({pipe}).error().code, ErrorCode::foreign);
  // None of them left anything that loads, or any shard.
  EXPECT_EQ(Dataset::open(out_).error().code, ErrorCode::not_found);
  EXPECT_EQ(files_in_out(), 0u);
}

TEST_F(Ingest, WrongOptionsAreUsageErrors) {
  const std::string input = put("a.txt", "text");
  EXPECT_EQ(load({}).error().code, ErrorCode::usage);
  for (const double fraction : {-0.1, 1.0, std::nan("")}) {
    options_.valid_fraction = fraction;
    EXPECT_EQ(load({input}).error().code, ErrorCode::usage) << fraction;
  }
  options_.valid_fraction = 0.1;
  options_.shard_tokens = 10;
  EXPECT_THAT(load({input}).error().message, HasSubstr("10 tokens"));
}

TEST_F(Ingest, NulBytesAreKeptWithAWarning) {
  const auto report = load({put("a.bin", std::string("a\0b\0", 4)), put("b.txt", "fine")});
  ASSERT_TRUE(report);
  EXPECT_EQ(report->tokens.value(), 4 + 1 + 4 + 1);
  ASSERT_EQ(report->warnings.size(), 1u);
  EXPECT_THAT(report->warnings[0], HasSubstr("a.bin: 2 NUL bytes (50 %)"));
}

TEST_F(Ingest, ManyDocumentsAreSplitByDocuments) {
  std::string lines;
  for (int i = 0; i < 40; ++i)
    lines += "{\"text\":\"" + std::string(1 + i % 3, static_cast<char>('0' + i)) + "\"}\n";
  options_.valid_fraction = 0.1;
  ASSERT_TRUE(load({put("a.jsonl", lines)}));
  EXPECT_EQ(content(Split::valid), "T|UU|VVV|W|");
  const Dataset dataset = *Dataset::open(out_);
  EXPECT_EQ(dataset.info().documents(Split::train), 36u);
  EXPECT_EQ(dataset.info().documents(Split::valid), 4u);
}

TEST_F(Ingest, FewDocumentsAreSplitByBytesAtTheBestBoundary) {
  struct Case {
    const char* name;
    std::string before, after;
  };
  const std::string x(900, 'x'), y(80, 'y');
  // Of the boundaries near 900 of 1000 bytes: an empty line before a line's end before any byte.
  for (const auto& [name, before, after] :
       {Case{"line", x.substr(20) + "\n", y + "\n" + std::string(30, 'z')},
        Case{"paragraph", x.substr(40) + "\n\n", "yy\n" + y + std::string(40, 'z')}}) {
    options_.valid_fraction = 0.1;
    options_.overwrite = true;
    ASSERT_TRUE(load({put("a.txt", before + after)}));
    EXPECT_EQ(content(Split::train), before) << name;
    EXPECT_EQ(content(Split::valid), after + "|") << name;
  }
  ASSERT_TRUE(load({put("a.txt", x), put("b.txt", "yy\n\n" + y + y.substr(44))}));
  EXPECT_EQ(content(Split::train), x + "|") << "a document's end";
  ASSERT_TRUE(load({put("a.txt", std::string(999, 'x'))}));
  EXPECT_EQ(content(Split::train).size(), 900u) << "no boundary at all";
}

std::string random_text(std::size_t size, std::uint64_t seed) {
  const Philox random(seed, Stream::test);
  std::string text(size, ' ');
  for (std::size_t i = 0; i < size; ++i) text[i] = "abcdefgh \n"[random.below(10, i)];
  return text;
}

TEST_F(Ingest, SeveralShardsHoldTheSameText) {
  std::vector<std::string> inputs;
  std::string expected;
  for (int i = 0; i < 30; ++i) {
    const std::string text =
        random_text(static_cast<std::size_t>(1 + i * i * 11), static_cast<std::uint64_t>(i));
    inputs.push_back(put("in/" + std::to_string(i), text));
    expected += text + "|";
  }
  for (const std::uint64_t shard_tokens : {1024, 1025, 4096, 1 << 20}) {
    for (const std::size_t count :
         {5, 30}) {  // below and above the number that is split by documents
      options_ = IngestOptions{};
      options_.shard_tokens = shard_tokens;
      options_.overwrite = true;
      options_.valid_fraction = 0.3;
      const std::vector<std::string> some(inputs.begin(),
                                          inputs.begin() + static_cast<std::ptrdiff_t>(count));
      const auto report = load(some);
      ASSERT_TRUE(report) << report.error().to_string();
      const std::string text = all();
      EXPECT_EQ(text, expected.substr(0, text.size()));
      EXPECT_EQ(report->documents, count);
      EXPECT_EQ(static_cast<std::int64_t>(text.size()), report->tokens.value());
      EXPECT_EQ(report->tokens, report->train_tokens + report->valid_tokens);
      EXPECT_GT(report->valid_tokens.value(), 0);
      if (count == 30) {
        const std::string valid = content(Split::valid);
        EXPECT_EQ(std::count(valid.begin(), valid.end(), '|'), 9);
      }
      const Dataset dataset = *Dataset::open(out_);
      for (const ShardEntry& shard : dataset.info().of(Split::train))
        EXPECT_LE(shard.tokens, shard_tokens);
    }
  }
}

TEST_F(Ingest, SameTextGivesTheSameDigest) {
  const std::string input = put("a.txt", random_text(50'000, 1));
  const Digest digest = load({input})->digest;
  out_ = folder_ / "other";
  EXPECT_EQ(load({input})->digest, digest);
  out_ = folder_ / "third";
  options_.valid_fraction = 0.5;
  EXPECT_NE(load({input})->digest, digest);
}

TEST_F(Ingest, ExistingDatasetIsReplacedOnlyOnRequest) {
  ASSERT_TRUE(load({put("a.txt", "old text")}));
  const auto refused = load({put("b.txt", "new text")});
  EXPECT_EQ(refused.error().code, ErrorCode::usage);
  EXPECT_THAT(refused.error().next_step, HasSubstr("--overwrite"));
  EXPECT_EQ(all(), "old text|");
  options_.overwrite = true;
  const Dataset open_before = *Dataset::open(out_);
  ASSERT_TRUE(load({folder_ / "b.txt"}));
  EXPECT_EQ(all(), "new text|");
  EXPECT_TRUE(open_before.verify()) << "who has the old one open keeps it";
  EXPECT_LE(files_in_out(), 3u) << "the old shards are gone";
  // The same text again: the new shards have the names of the old.
  ASSERT_TRUE(load({folder_ / "b.txt"}));
  EXPECT_EQ(all(), "new text|");
}

TEST_F(Ingest, ADatasetWithADamagedListCanBeReplaced) {
  ASSERT_TRUE(load({put("a.txt", "old text")}));
  const std::string list = *read_file(dataset_file(out_));
  for (const std::string& damaged : {list.substr(0, list.size() / 2), std::string()}) {
    ASSERT_TRUE(write_file_atomic(dataset_file(out_), as_bytes(damaged)));
    options_.overwrite = false;
    const auto refused = load({put("b.txt", "new text")});
    EXPECT_EQ(refused.error().code, ErrorCode::usage);
    EXPECT_THAT(refused.error().next_step, HasSubstr("--overwrite"));
    // Until it is replaced, whoever has a copy of the list can restore the dataset.
    options_.overwrite = true;
    EXPECT_FALSE(load({folder_ / "b.txt", put("c.jsonl", "broken")}));
    ASSERT_TRUE(write_file_atomic(dataset_file(out_), as_bytes(list)));
    EXPECT_EQ(all(), "old text|");
    ASSERT_TRUE(write_file_atomic(dataset_file(out_), as_bytes(damaged)));
  }
  ASSERT_TRUE(load({folder_ / "b.txt"}));
  EXPECT_EQ(all(), "new text|");
  EXPECT_LE(files_in_out(), 3u) << "the old shards are gone";
  // What a later build wrote is not damaged.
  std::string later = *read_file(dataset_file(out_));
  later.replace(later.find("\"version\": 1"), 12, "\"version\": 2");
  ASSERT_TRUE(write_file_atomic(dataset_file(out_), as_bytes(later)));
  EXPECT_EQ(load({folder_ / "b.txt"}).error().code, ErrorCode::version);
}

TEST_F(Ingest, FailedReplacementKeepsTheEarlierDataset) {
  ASSERT_TRUE(load({put("a.txt", "old text")}));
  options_.overwrite = true;
  EXPECT_FALSE(load({put("b.txt", "new text"), put("c.jsonl", "broken")}));
  EXPECT_EQ(all(), "old text|");
  EXPECT_LE(files_in_out(), 3u);
}

TEST_F(Ingest, FolderWithOtherFilesIsRefusedAndUntouched) {
  const std::string mine = put("out/thesis.txt", "years of work"), input = put("a.txt", "text");
  options_.overwrite = true;
  const auto report = load({input});
  EXPECT_EQ(report.error().code, ErrorCode::foreign);
  EXPECT_THAT(report.error().message, HasSubstr("thesis.txt"));
  EXPECT_EQ(*read_file(mine), "years of work");
  fs::remove(mine);
  put("out/dataset.json", "{\"my\": \"own\"}");
  EXPECT_EQ(load({input}).error().code, ErrorCode::foreign);
}

TEST_F(Ingest, LeftoversOfAKilledProcessAreRemoved) {
  put("out/part-00000.shard", "half");
  ASSERT_TRUE(load({put("a.txt", "text")}));
  EXPECT_FALSE(fs::exists(out_ + "/part-00000.shard"));
}

TEST_F(Ingest, BusyFolderIsRefused) {
  fs::create_directories(out_);
  const FolderLock lock = *FolderLock::acquire(out_);
  EXPECT_EQ(load({put("a.txt", "text")}).error().code, ErrorCode::busy);
}

TEST_F(Ingest, StopsOnRequest) {
  std::atomic<bool> stop{false};
  options_.stop = &stop;
  options_.progress = [&](const IngestProgress&) { stop = true; };
  const auto report = load({put("a.txt", random_text(12'000'000, 1))});
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, ErrorCode::interrupted);
  EXPECT_EQ(files_in_out(), 0u);
}

TEST_F(Ingest, ProgressRisesToTheTotal) {
  std::vector<std::int64_t> done;
  options_.progress = [&](const IngestProgress& progress) {
    done.push_back(progress.done.value());
    EXPECT_EQ(progress.total.value(), 12'000'004);
  };
  ASSERT_TRUE(load({put("a.txt", random_text(12'000'000, 1)), put("b.txt", "more")}));
  EXPECT_GE(done.size(), 3u);
  EXPECT_TRUE(std::is_sorted(done.begin(), done.end()));
  EXPECT_EQ(done.back(), 12'000'004);
}

TEST_F(Ingest, FullDiskIsOneErrorAndLeavesNothing) {
  const std::string input = put("a.txt", random_text(4'000'000, 1));
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 1'500'000;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto report = load({input});
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, ErrorCode::no_space);
  EXPECT_EQ(files_in_out(), 0u);
}

}  // namespace
}  // namespace suanli::data
