// The reference pages and the examples of the repository are those of this build.
#include <gmock/gmock.h>

#include "suanli/base/text.h"
#include "suanli/cli/command_for_test.h"

namespace suanli::cli {
namespace {

const std::string kSource = SUANLI_SOURCE_DIR;

class Reference : public CommandTest {};

TEST_F(Reference, PagesAreWhatTheCommandPrints) {
  const std::map<std::string, std::string> pages = {
      {"job.md", "job"}, {"errors.md", "errors"}, {"cli.md", "all"}, {"cli-json.md", "cli-json"},
      {"figures.md", "figures"}};
  for (const auto& [page, topic] : pages) {
    const Ended printed = run({"help", topic, "--markdown"});
    EXPECT_EQ(printed.code, 0);
    EXPECT_TRUE(printed.out == content_of(kSource + "/docs/reference/" + page))
        << "docs/reference/" << page << " is old; run tools/make_reference.sh";
  }
}

TEST_F(Reference, EveryVerbHasExamples) {
  const std::string all = run({"help", "all", "--markdown"}).out;
  std::size_t verbs = 0;
  for (std::size_t at = all.find("\n## suanli "); at != std::string::npos; ++verbs) {
    const std::size_t next = all.find("\n## suanli ", at + 1);
    const std::string page = all.substr(at, next - at);
    EXPECT_THAT(page, ::testing::HasSubstr("Examples:\n  suanli ")) << page;
    at = next;
  }
  EXPECT_GE(verbs, 15u);
}

TEST_F(Reference, ExamplesCanBeExplained) {
  int jobs = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kSource + "/examples")) {
    if (entry.path().extension() != ".toml") continue;
    // The datasets lie elsewhere here.
    const Ended explained = run({"explain", entry.path(), "--set", "data.path=nowhere", "--json"});
    ASSERT_EQ(explained.code, 0) << entry.path() << explained.err;
    EXPECT_GT(explained.json()["parameters"], 100'000) << entry.path();
    ++jobs;
  }
  EXPECT_GE(jobs, 3);
}

TEST_F(Reference, TheTinyExampleLearns) {
  make_dataset();
  const Ended trained = run({"train", kSource + "/examples/tiny.toml", "--set", "data.path=data",
                             "--run", "run", "--json"});
  ASSERT_EQ(trained.code, 0) << trained.err;
  EXPECT_LT(trained.lines().back()["valid_loss"], 1.0) << "the text repeats";
}

}  // namespace
}  // namespace suanli::cli
