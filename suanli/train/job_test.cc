#include "suanli/train/job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "suanli/base/file.h"
#include "suanli/base/test_folder.h"
#include "suanli/train/job_schema.h"

namespace suanli::train {
namespace {

using testing::HasSubstr;

JobConfig parsed(const std::string& text) {
  const auto job = parse_job(text, "job.toml");
  EXPECT_TRUE(job) << job.error().to_string();
  return job.value_or(JobConfig());
}

// The text is refused with this place, and a message that contains each of the words.
void expect_refused(const std::string& text, const std::string& place,
                    const std::vector<std::string>& words) {
  const auto job = parse_job(text, "job.toml");
  ASSERT_FALSE(job) << text;
  EXPECT_EQ(job.error().code, ErrorCode::config) << text;
  EXPECT_EQ(job.error().place, place) << text;
  for (const std::string& word : words) EXPECT_THAT(job.error().message, HasSubstr(word)) << text;
  EXPECT_FALSE(job.error().next_step.empty()) << text;
}

TEST(Job, EmptyTextIsAllDefaults) {
  EXPECT_EQ(parsed(""), JobConfig());
  EXPECT_EQ(parsed("# nothing\n[train]\n"), JobConfig());
}

TEST(Job, ReadsEverySort) {
  const JobConfig job = parsed(R"([model]
layers = 12
[data]
path = "data/bible"
[train]
lr = 6e-4
clip_norm = 2          # a whole number is a real one too
schedule = "linear"
[run]
cap = "50G"
budget = 3e15
memory_limit = "2GiB"
[sample]
prompt = "In the \"beginning\"\n"
)");
  EXPECT_EQ(job.model.layers, 12);
  EXPECT_EQ(job.data.path, "data/bible");
  EXPECT_EQ(job.train.lr, 6e-4);
  EXPECT_EQ(job.train.clip_norm, 2);
  EXPECT_EQ(job.train.schedule, "linear");
  EXPECT_EQ(job.run.cap, 50e9);
  EXPECT_EQ(job.run.budget, 3e15);
  EXPECT_EQ(job.run.memory_limit, 2147483648.0);
  EXPECT_EQ(job.sample.prompt, "In the \"beginning\"\n");
}

TEST(Job, UnknownKeysNameTheNearest) {
  expect_refused("[train]\nsteps = 5\nlearning_rte = 1\n", "job.toml:3", {"train.learning_rte"});
  expect_refused("[train]\n\nstep = 5\n", "job.toml:3", {"train.step", "did you mean 'steps'?"});
  expect_refused("[modle]\nlayers = 2\n", "job.toml:1", {"modle", "did you mean 'model'?"});
  expect_refused("[model]\nsteps = 2\n", "job.toml:2", {"model.steps", "belongs into [train]"});
  expect_refused("steps = 2\n", "job.toml:1", {"steps", "outside of every section"});
  expect_refused("train = 2\n", "job.toml:1", {"train", "is a section"});
  expect_refused("[train.more]\nx = 1\n", "job.toml:1", {"train.more"});
}

TEST(Job, WrongTypesAndRangesNameValueAndExpectation) {
  expect_refused("[train]\nsteps = \"many\"\n", "job.toml:2",
                 {"train.steps", "'many'", "an integer, 1 to 1,000,000,000"});
  expect_refused("[train]\nsteps = 1.5\n", "job.toml:2", {"train.steps", "1.5", "an integer"});
  expect_refused("[train]\nsteps = 0\n", "job.toml:2", {"is 0", "1 to"});
  expect_refused("[train]\nsteps = -3\n", "job.toml:2", {"is -3"});
  expect_refused("[train]\nlr = true\n", "job.toml:2", {"train.lr", "true", "a number"});
  expect_refused("[train]\nlr = nan\n", "job.toml:2", {"train.lr", "nan"});
  expect_refused("[train]\nlr = -inf\n", "job.toml:2", {"train.lr", "-inf"});
  expect_refused("[train]\nbeta1 = 1.0\n", "job.toml:2", {"train.beta1", "below 1"});
  expect_refused("[train]\neps = 0\n", "job.toml:2", {"train.eps", "above 0"});
  expect_refused("[train]\nschedule = \"cosin\"\n", "job.toml:2",
                 {"'cosin'", "\"linear\"", "did you mean 'cosine'?"});
  expect_refused("[train]\nlr = [1, 2]\n", "job.toml:2", {"a list"});
  expect_refused("[train]\nlr = 1979-05-27\n", "job.toml:2", {"a date"});
  expect_refused("[train]\nlr = {a = 1}\n", "job.toml:2", {"a table"});
  expect_refused("[data]\npath = 5\n", "job.toml:2", {"data.path", "a path"});
  expect_refused("[data]\npath = \"a\\u0000b\"\n", "job.toml:2", {"data.path"});
  expect_refused("[run]\ncap = \"50Q\"\n", "job.toml:2", {"run.cap", "50Q", "FLOP/s"});
  expect_refused("[run]\ncap = -1\n", "job.toml:2", {"run.cap", "-1"});
  expect_refused("[run]\nbudget = inf\n", "job.toml:2", {"run.budget", "inf"});
  expect_refused("[run]\ncap = \"2GiB\"\n", "job.toml:2", {"run.cap"});
  expect_refused("[run]\nmemory_limit = 1e30\n", "job.toml:2", {"run.memory_limit"});
}

TEST(Job, ListsAreOfTexts) {
  const std::vector<std::string> both = {"https://host/data", "s3://bucket/data"};
  EXPECT_EQ(parsed("[data]\nsources = [\"https://host/data\", \"s3://bucket/data\"]\n").data.sources, both);
  EXPECT_EQ(parsed("[data]\nsources = \"s3://bucket/data\"\n").data.sources, std::vector{both[1]}) << "one needs no list";
  EXPECT_TRUE(parsed("[data]\nsources = []\n").data.sources.empty());
  JobConfig job;
  ASSERT_TRUE(apply_override(job, "data.sources=https://host/data,s3://bucket/data"));
  EXPECT_EQ(job.data.sources, both);
  JobConfig listed;
  ASSERT_TRUE(apply_override(listed, R"(data.sources=["https://host/data", "s3://bucket/data"])"));
  EXPECT_EQ(listed.data.sources, both);
  ASSERT_TRUE(apply_override(listed, "data.sources=[]"));
  EXPECT_TRUE(listed.data.sources.empty());
  EXPECT_EQ(parsed(print_job(job)), job);
  EXPECT_FALSE(apply_override(job, "data.sources=https://host/data,,")) << "one is empty";
  ASSERT_TRUE(apply_override(job, "data.sources="));
  EXPECT_TRUE(job.data.sources.empty());
  expect_refused("[data]\nsources = [1]\n", "job.toml:2", {"data.sources", "a list", "URLs"});
  expect_refused("[data]\nsources = 5\n", "job.toml:2", {"data.sources", "is 5", "URLs"});
  expect_refused("[data]\nsources = [\"\"]\n", "job.toml:2", {"data.sources"});
  expect_refused("[train]\nlr = [\"1\"]\n", "job.toml:2", {"train.lr", "'1'", "a number"});
  std::string many = "[data]\nsources = [";
  for (int i = 0; i < 33; ++i) many += "\"http://h/" + std::to_string(i) + "\",";
  expect_refused(many + "]\n", "job.toml:2", {"data.sources", "up to 32"});
}

TEST(Job, SourcesAreUrlsWithoutSecrets) {
  JobConfig job;
  job.data.path = "d";
  job.run.dir = "r";
  job.data.sources = {"http://host:80/data/set", "https://[::1]:80/x", "s3://bucket/a/b@c"};
  EXPECT_TRUE(check_job(job, "job.toml"));
  for (const auto& [url, said] : std::vector<std::pair<std::string, std::string>>{{"data/bible", "no URL"},
                                                                                  {"ftp://host/data", "no URL"},
                                                                                  {"://host", "no URL"},
                                                                                  {"http://", "no folder"},
                                                                                  {"https:///x", "no folder"},
                                                                                  {"https://host/x?a=1", "no folder"},
                                                                                  {"https://me:secret@host/x", "'host'"}}) {
    job.data.sources = {"http://host/data", url};
    const Status checked = check_job(job, "job.toml");
    ASSERT_FALSE(checked) << url;
    EXPECT_EQ(checked.error().code, ErrorCode::config);
    EXPECT_THAT(checked.error().message, testing::AllOf(HasSubstr("data.sources"), HasSubstr(said)));
    EXPECT_THAT(checked.error().to_string(), testing::Not(HasSubstr("secret")));
    EXPECT_FALSE(checked.error().next_step.empty());
  }
}

TEST(Job, BadSyntaxNamesTheLine) {
  expect_refused("[train]\nsteps = \n", "job.toml:2", {"not valid TOML"});
  expect_refused("[train\n", "job.toml:1", {"not valid TOML"});
  expect_refused("[train]\nsteps = 1\nsteps = 2\n", "job.toml:3", {"not valid TOML"});
  expect_refused("[train]\nschedule = cosine\n", "job.toml:2", {"not valid TOML"});
  expect_refused("[train]\nsteps = 1\n# a \xff\xfe comment\n", "job.toml:3", {"not valid TOML"});
  expect_refused(std::string(kMaxJobBytes + 1, '\n'), "job.toml", {"1048577"});
  EXPECT_FALSE(parse_job(std::string(100'000, '['), "job.toml")) << "deep nesting ends in an error";
}

TEST(Job, OverridesSetOneKey) {
  JobConfig job;
  ASSERT_TRUE(apply_override(job, "train.lr=3e-4"));
  ASSERT_TRUE(apply_override(job, "train.steps=20"));
  ASSERT_TRUE(apply_override(job, "run.cap=50G"));
  ASSERT_TRUE(apply_override(job, "train.dtype=bf16"));
  ASSERT_TRUE(apply_override(job, "sample.prompt=a=b.c"));
  EXPECT_EQ(job.train.lr, 3e-4);
  EXPECT_EQ(job.train.steps, 20);
  EXPECT_EQ(job.run.cap, 50e9);
  EXPECT_EQ(job.train.dtype, "bf16");
  EXPECT_EQ(job.sample.prompt, "a=b.c");
}

TEST(Job, ArithIsShortForTheKeyOfArithmetic) {
  JobConfig job;
  ASSERT_TRUE(apply_override(job, "arith=exact"));
  EXPECT_EQ(job.train.dtype, "exact");
  const Status wrong = apply_override(job, "arith=exactly");
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, ErrorCode::usage);
  EXPECT_EQ(wrong.error().place, "--set arith=exactly");
  EXPECT_THAT(wrong.error().message, HasSubstr("'train.dtype' is 'exactly'"));
  EXPECT_THAT(wrong.error().message, HasSubstr("did you mean 'exact'?"));
}

TEST(Job, BadOverridesAreUsageErrorsThatNameThemselves) {
  for (const auto& [text, word] :
       std::map<std::string, std::string>{{"train.lr", "section.key=value"},
                                          {"lr=3", "section.key=value"},
                                          {"", "section.key=value"},
                                          {"trian.lr=3", "did you mean 'train'?"},
                                          {"train.l=3", "train.l"},
                                          {"train.lr=fast", "'fast'"},
                                          {"train.lr=", "a number"},
                                          {"train.steps=1e3", "an integer"},
                                          {"train.dtype=f64", "\"bf16\""}}) {
    JobConfig job;
    const Status status = apply_override(job, text);
    ASSERT_FALSE(status) << text;
    EXPECT_EQ(status.error().code, ErrorCode::usage) << text;
    EXPECT_EQ(status.error().place, "--set " + text);
    EXPECT_THAT(status.error().message, HasSubstr(word)) << text;
    EXPECT_EQ(job, JobConfig()) << text;
  }
}

TEST(Job, PrintedJobReadsBackTheSame) {
  JobConfig job;
  job.data.path = "/data/with \"quotes\" and \\ and ünïcode";
  job.sample.prompt = "tab\t newline\n bell\x07 quote\"";
  job.train.lr = 0.1 + 0.2;
  job.train.eps = 1e-300;
  job.train.seed = std::numeric_limits<std::int64_t>::max();
  job.run.cap = 123456789.5;
  job.run.dir = "x";
  EXPECT_EQ(parsed(print_job(job)), job);
  EXPECT_EQ(parsed(print_job(JobConfig())), JobConfig());
}

TEST(Job, DefaultsKeepTheirOwnRanges) {
  for (const Key& key : job_keys()) {
    if (std::holds_alternative<TextKey>(key.kind)) continue;
    const std::string text = "[" + std::string(key.section) + "]\n" + std::string(key.name) +
                             " = " + print_value(key, JobConfig()) + "\n";
    EXPECT_TRUE(parse_job(text, "job.toml")) << text;
  }
}

TEST(Job, ChecksWhatNoSingleKeyShows) {
  JobConfig good;
  good.data.path = "d";
  good.run.dir = "r";
  EXPECT_TRUE(check_job(good, "job.toml"));
  const auto refused = [&](auto change, const std::string& word) {
    JobConfig job = good;
    change(job);
    const Status status = check_job(job, "job.toml");
    ASSERT_FALSE(status) << word;
    EXPECT_EQ(status.error().code, ErrorCode::config);
    EXPECT_THAT(status.error().to_string(), HasSubstr(word));
    EXPECT_THAT(status.error().place, HasSubstr("job.toml"));
  };
  refused([](JobConfig& job) { job.data.path.clear(); }, "data.path");
  refused([](JobConfig& job) { job.run.dir.clear(); }, "run.dir");
  refused([](JobConfig& job) { job.model.heads = 5; }, "384");
  refused([](JobConfig& job) { job.train.warmup_steps = 2000; }, "2000");
  const auto exact = [](JobConfig& job) { job.train.dtype = "exact", job.codec.weights = "ef4"; };
  refused(exact, "'codec.weights' is ef4, but the sums of exact arithmetic are whole numbers");
  refused([](JobConfig& job) { job.local.inner_steps = 4, job.local.delay = 4; }, "[local]: delay is 4");
  refused([](JobConfig& job) { job.local.inner_steps = 4, job.local.fragments = 5; }, "fragments is 5");
  refused([](JobConfig& job) { job.local.inner_steps = 4, job.local.keep_local = 0.5; }, "without a delay");
  refused([](JobConfig& job) { job.pool.split = "3,,3"; }, "'pool.split' is '3,,3'");
  refused([](JobConfig& job) { job.pool.split = "6,-1,1"; }, "does not share out the 6");
  refused([](JobConfig& job) { job.pool.split = "3,2"; }, "does not share out the 6");
  refused([](JobConfig& job) { job.pool.split = "9223372036854775807,9223372036854775807"; }, "does not share out the 6");
  refused([](JobConfig& job) { job.pool.split = "3,3", job.pool.stages = 3; }, "'pool.stages' is 3, but 'pool.split' has 2");
  good.pool.split = "3,1,2";
  EXPECT_TRUE(check_job(good, "job.toml"));
  EXPECT_EQ(split_of(good), (std::vector<std::int64_t>{3, 1, 2}));
  exact(good);
  good.local.inner_steps = 4;
  EXPECT_TRUE(check_job(good, "job.toml")) << "what lanes have moved is f32";
}

class LoadJob : public testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(make_folders(std::filesystem::path(folder_ / name).parent_path()));
    ASSERT_TRUE(write_file_atomic(folder_ / name, as_bytes(text)));
  }
  TestFolder folder_;
};

TEST_F(LoadJob, PathsOfTheFileAreRelativeToItAndOfOverridesToTheCurrentFolder) {
  write("jobs/bible.toml", "[data]\npath = \"../data/bible\"\n");
  const auto job = load_job(folder_ / "jobs/bible.toml");
  ASSERT_TRUE(job) << job.error().to_string();
  EXPECT_EQ(job->data.path, folder_ / "data/bible");
  EXPECT_EQ(job->run.dir, folder_ / "jobs/bible.run") << "the default lies beside the job";

  const std::vector<std::string> overrides = {"run.dir=runs/one", "train.steps=500"};
  const auto changed = load_job(folder_ / "jobs/bible.toml", overrides);
  ASSERT_TRUE(changed) << changed.error().to_string();
  EXPECT_EQ(changed->run.dir, (std::filesystem::current_path() / "runs/one").string());
  EXPECT_EQ(changed->data.path, folder_ / "data/bible");
  EXPECT_EQ(changed->train.steps, 500);
}

TEST_F(LoadJob, AMissingFileIsNamed) {
  const auto job = load_job(folder_ / "absent.toml");
  ASSERT_FALSE(job);
  EXPECT_EQ(job.error().code, ErrorCode::not_found);
  EXPECT_THAT(job.error().to_string(), HasSubstr("absent.toml"));
}

TEST_F(LoadJob, ChecksTheWholeAfterOverrides) {
  write("a.toml", "[data]\npath = \"d\"\n[model]\nheads = 5\nwidth = 25\n");
  ASSERT_TRUE(load_job(folder_ / "a.toml"));
  const std::vector<std::string> overrides = {"model.width=26"};
  const auto job = load_job(folder_ / "a.toml", overrides);
  ASSERT_FALSE(job);
  EXPECT_THAT(job.error().message, HasSubstr("26"));
}

TEST(JobSchema, ReferencePageInTheRepositoryIsThatOfTheTable) {
  const auto page = read_file(SUANLI_SOURCE_DIR "/docs/reference/job.md");
  if (page && *page == job_reference_markdown()) return;
  const std::string fresh = SUANLI_BINARY_DIR "/job.md";
  ASSERT_TRUE(write_file_atomic(fresh, as_bytes(job_reference_markdown())));
  FAIL() << "docs/reference/job.md is missing or out of date; copy " << fresh << " over it";
}

TEST(JobSchema, FixedKeysAreThoseThatChangeWhatIsComputed) {
  JobConfig a, b;
  EXPECT_TRUE(changed_fixed_keys(a, b).empty());
  b.train.steps = 7;
  b.eval.every = 7;
  b.checkpoint.keep = 7;
  b.run.threads = 7;
  b.run.cap = 7;
  b.run.budget = 7;
  b.data.path = "moved";
  EXPECT_TRUE(changed_fixed_keys(a, b).empty());
  b.train.lr = 7;
  b.model.layers = 7;
  ASSERT_EQ(changed_fixed_keys(a, b).size(), 2u);
  EXPECT_EQ(changed_fixed_keys(a, b)[0]->full_name(), "model.layers");
  EXPECT_EQ(changed_fixed_keys(a, b)[1]->full_name(), "train.lr");
}

}  // namespace
}  // namespace suanli::train
