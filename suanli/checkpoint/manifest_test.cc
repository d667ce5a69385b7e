#include "suanli/checkpoint/manifest.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "suanli/checkpoint/test_snapshot.h"
#include "suanli/model/safetensors.h"

namespace suanli::checkpoint {
namespace {

using ::testing::HasSubstr;

Manifest example() { return describe(test_snapshot(100), "a header"); }

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const auto at = text.find(from);
  EXPECT_NE(at, text.npos) << from;
  return text.replace(at, from.size(), to);
}

// The message of a manifest that must be refused with this code, at this place, with a next step.
std::string refusal(const std::string& text, ErrorCode code = ErrorCode::corrupt) {
  auto manifest = parse_manifest(text, "run/manifest.json");
  if (manifest) return "(accepted)";
  EXPECT_EQ(name_of(manifest.error().code), name_of(code)) << manifest.error().message;
  EXPECT_EQ(manifest.error().place, "run/manifest.json");
  EXPECT_NE(manifest.error().next_step, "");
  return manifest.error().message;
}

// Damage that a wrong program could write: the digest at the end is right.
std::string refusal_of_edit(const std::string& from, const std::string& to) {
  const std::string body(internal::unsealed(to_text(example())));
  return refusal(internal::seal(replaced(body, from, to)));
}

TEST(Manifest, RoundTrips) {
  const Manifest manifest = example();
  auto parsed = parse_manifest(to_text(manifest), "f");
  ASSERT_TRUE(parsed) << parsed.error().to_string();
  EXPECT_EQ(*parsed, manifest);
  EXPECT_EQ(parsed->meta_json, R"({"sampler":{"position":6400}})");
}

TEST(Manifest, RoundTripsWithoutTensorsAndWithStrangeNames) {
  Snapshot snapshot;
  EXPECT_EQ(parse_manifest(to_text(describe(snapshot, "")), "f"), describe(snapshot, ""));
  snapshot.tensors.push_back({"\"\n\\ \xe7\xae\x97", graph::f32({1}), test_bytes(0, 0, 4)});
  EXPECT_EQ(parse_manifest(to_text(describe(snapshot, "h")), "f"), describe(snapshot, "h"));
}

TEST(Manifest, KeepsNumbersOfTheMetaExactly) {
  Snapshot snapshot;
  snapshot.meta_json = R"({ "u": 18446744073709551615, "d": 0.1, "e": 1e-300 })";
  auto parsed = parse_manifest(to_text(describe(snapshot, "")), "f");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->meta_json, R"({"d":0.1,"e":1e-300,"u":18446744073709551615})");
}

TEST(Manifest, DescribesTheDataFile) {
  const Manifest manifest = example();
  EXPECT_EQ(manifest.header_bytes, Bytes(8));
  EXPECT_EQ(manifest.data_bytes, Bytes(8 + 4 * 512 + 10 + 8 + 0 + 12 + 7));
  EXPECT_EQ(manifest.header_digest, sha256("a header"));
  EXPECT_EQ(manifest.tensors[4].digest, sha256(ByteSpan(test_bytes(100, 4, 12))));
}

TEST(Manifest, RootCommitsToNamesTypesAndBytesButNotToOrder) {
  const std::vector<TensorEntry> tensors = example().tensors;
  const Digest root = state_root(tensors);
  auto other = tensors;
  std::ranges::reverse(other);
  EXPECT_EQ(state_root(other), root);
  other = tensors;
  other[0].name += "x";
  EXPECT_NE(state_root(other), root);
  other = tensors;
  std::swap(other[0].type.shape[0], other[0].type.shape[1]);
  EXPECT_NE(state_root(other), root);
  other = tensors;
  other[4].type.dtype = graph::DType::f32;
  EXPECT_NE(state_root(other), root);
  other = tensors;
  other[1].digest.bytes[31] ^= std::byte{1};
  EXPECT_NE(state_root(other), root);
}

TEST(Manifest, RefusesEveryTruncation) {
  const std::string text = to_text(example());
  EXPECT_THAT(refusal("", ErrorCode::empty), HasSubstr("is empty"));
  for (std::size_t size = 1; size < text.size(); ++size)
    EXPECT_FALSE(parse_manifest(text.substr(0, size), "f")) << size;
  EXPECT_THAT(refusal(text.substr(0, text.size() / 2)), HasSubstr("cannot be read"));
  EXPECT_THAT(refusal(text.substr(0, text.size() - 1)), HasSubstr("truncated or edited"));
}

TEST(Manifest, RefusesEveryFlippedBit) {
  const std::string text = to_text(describe(Snapshot(), "h"));
  for (std::size_t bit = 0; bit < text.size() * 8; ++bit) {
    std::string damaged = text;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    auto manifest = parse_manifest(damaged, "f");
    ASSERT_FALSE(manifest) << "bit " << bit;
    // A flip in the version must not pass for a newer format.
    EXPECT_NE(manifest.error().code, ErrorCode::version) << "bit " << bit;
  }
}

TEST(Manifest, NamesBothDigestsOfADamagedManifest) {
  const std::string text = to_text(example());
  const std::string damaged = replaced(text, "\"position\":6400", "\"position\":6401");
  EXPECT_THAT(refusal(damaged), HasSubstr(sha256(internal::unsealed(damaged)).hex()));
  EXPECT_THAT(refusal(damaged), HasSubstr(text.substr(text.size() - 68, 64)));
}

TEST(Manifest, RefusesOtherKindsAndVersions) {
  EXPECT_THAT(refusal("step,loss\n", ErrorCode::foreign), HasSubstr("'step,los'"));
  EXPECT_THAT(refusal("{}", ErrorCode::foreign), HasSubstr("'format' is missing"));
  EXPECT_THAT(refusal(R"({"format": "other"})", ErrorCode::foreign), HasSubstr("\"other\""));
  const std::string body(internal::unsealed(to_text(example())));
  EXPECT_THAT(refusal(internal::seal(replaced(body, "\"version\": 1", "\"version\": 2")),
                      ErrorCode::version),
              HasSubstr("version 2"));
}

TEST(Manifest, RefusesWrongFields) {
  EXPECT_THAT(refusal_of_edit("\"step\": 100", "\"step\": -1"), HasSubstr("'step'"));
  EXPECT_THAT(refusal_of_edit("\"step\": 100", "\"step\": 1.5"), HasSubstr("is 1.5 where"));
  EXPECT_THAT(refusal_of_edit("\"step\": 100", "\"step\": 9223372036854775808"),
              HasSubstr("9223372036854775808"));
  EXPECT_THAT(refusal_of_edit("\"step\": 100", "\"stop\": 100"), HasSubstr("missing"));
  EXPECT_THAT(refusal_of_edit("\"step\": 100", "\"step\": 100, \"step\": 101"),
              HasSubstr("key 'step' twice"));
  EXPECT_THAT(refusal_of_edit("\"header_bytes\": 8", "\"header_bytes\": 9999999"),
              HasSubstr("'header_bytes' of 'data' is 9999999"));
  EXPECT_THAT(refusal_of_edit("\"header_bytes\": 8", "\"header_bytes\": 9"),
              HasSubstr("does not fit"));
  EXPECT_THAT(refusal_of_edit("\"header_bytes\": 8", "\"header_bytes\": 7"),
              HasSubstr("the tensors make 2092 bytes of data but 'bytes' says 2093"));
  EXPECT_THAT(refusal_of_edit("\"header_sha256\": \"", "\"header_sha256\": \"0"),
              HasSubstr("a SHA-256"));
  EXPECT_THAT(refusal_of_edit("\"meta\": {", "\"meta\": 3, \"more\": {"), HasSubstr("'meta'"));
  EXPECT_THAT(refusal_of_edit("\"root\": \"", "\"boot\": \""), HasSubstr("'root'"));
}

TEST(Manifest, RefusesWrongTensors) {
  EXPECT_THAT(refusal_of_edit("wte.weight", "wte.weighs"), HasSubstr("'root' says"));
  EXPECT_THAT(refusal_of_edit("\"mask\"", "\"ids\""), HasSubstr("'ids' is listed twice"));
  EXPECT_THAT(refusal_of_edit("\"i64\"", "\"i63\""), HasSubstr("'dtype' of tensor number 2"));
  EXPECT_THAT(refusal_of_edit("[4,128]", "[4,-128]"), HasSubstr("'shape' of tensor number 0"));
  EXPECT_THAT(refusal_of_edit("[4,128]", "[1099511627776,16777216]"), HasSubstr("possible shape"));
  EXPECT_THAT(refusal_of_edit("[4,128]", "4"), HasSubstr("a list"));
  EXPECT_THAT(refusal_of_edit("[4,128]", "[4000,128]"), HasSubstr("'wte.weight' of type"));
  EXPECT_THAT(refusal_of_edit("{\"name\": \"wte.weight\"", "7, {\"name\": \"wte.weight\""),
              HasSubstr("tensor number 0 is described by no JSON object"));
}

// The page and the program describe the same bytes.
TEST(Manifest, IsWrittenAsDocumented) {
  auto page = read_file(std::string(SUANLI_SOURCE_DIR) + "/docs/formats/checkpoint.md");
  ASSERT_TRUE(page) << page.error().to_string();
  const auto start = page->find("```json\n") + 8;
  const std::string documented = page->substr(start, page->find("```", start) - start);

  const float weights[] = {0, 1, 2, 3, 4, 5};
  const std::int64_t t = 100;
  const auto bytes_of = [](const auto& value) {
    const auto bytes = std::as_bytes(std::span(&value, 1));
    return std::vector<std::byte>(bytes.begin(), bytes.end());
  };
  Snapshot snapshot{100, {}, R"({"sampler": {"position": 6400}})"};
  snapshot.tensors.push_back({"wte.weight", graph::f32({2, 3}), bytes_of(weights)});
  snapshot.tensors.push_back({"adam.t", {graph::DType::i64, {}}, bytes_of(t)});
  std::vector<model::TensorView> views;
  for (const NamedTensor& tensor : snapshot.tensors)
    views.push_back({tensor.name, tensor.type, tensor.bytes()});
  const std::string header = model::safetensors_header(views, {{"step", "100"}});
  EXPECT_EQ(to_text(describe(snapshot, header)), documented);
}

TEST(ManifestDeathTest, MetaIsAJsonObject) {
  Snapshot snapshot;
  snapshot.meta_json = "[1]";
  EXPECT_DEATH(describe(snapshot, ""), "internal check failed");
}

}  // namespace
}  // namespace suanli::checkpoint
