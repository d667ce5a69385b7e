#include "suanli/model/safetensors.h"

#include <gmock/gmock.h>

#include <cstring>
#include <filesystem>
#include <numeric>

namespace suanli::model {
namespace {

using graph::DType;
using graph::TensorType;
using ::testing::HasSubstr;

// A file made by hand: length, JSON, data.
std::string file_of(std::string_view json, std::string_view data = "") {
  std::string file(8, '\0');
  for (int i = 0; i < 8; ++i)
    file[static_cast<std::size_t>(i)] = static_cast<char>(std::uint64_t{json.size()} >> (8 * i));
  return file + std::string(json) + std::string(data);
}

Result<Safetensors> parse(const std::string& file) {
  return parse_safetensors(as_bytes(file), "weights.st");
}

// The message of a refused file, which must have this code, the place and a next step.
std::string refusal(const std::string& file, ErrorCode code = ErrorCode::corrupt) {
  auto result = parse(file);
  if (result) return "(accepted)";
  EXPECT_EQ(name_of(result.error().code), name_of(code)) << result.error().message;
  EXPECT_EQ(result.error().place, "weights.st");
  EXPECT_NE(result.error().next_step, "");
  return result.error().message;
}

std::string one_tensor(std::string_view dtype, std::string_view shape, std::string_view offsets) {
  return "{\"t\":{\"dtype\":" + std::string(dtype) + ",\"shape\":" + std::string(shape) +
         ",\"data_offsets\":" + std::string(offsets) + "}}";
}

TEST(Safetensors, ReadsAFileMadeByHand) {
  const std::string file = file_of(
      R"({"b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]},"__metadata__":{"format":"pt"},)"
      R"("a":{"data_offsets":[0,8],"shape":[1,2],"dtype":"F32"}}   )",
      std::string("\x00\x00\x80\x3f\x00\x00\x00\xc0xyz", 11));
  auto result = parse(file);
  ASSERT_TRUE(result) << result.error().to_string();
  EXPECT_EQ(result->metadata, (std::map<std::string, std::string>{{"format", "pt"}}));
  ASSERT_EQ(result->tensors.size(), 2u);
  EXPECT_EQ(result->tensors[0].name, "a");  // in the order of the data
  EXPECT_EQ(result->tensors[0].type, graph::f32({1, 2}));
  float values[2];
  std::memcpy(values, result->tensors[0].data.data(), sizeof values);
  EXPECT_EQ(values[0], 1.0f);
  EXPECT_EQ(values[1], -2.0f);
  EXPECT_EQ(result->find("b")->type, (TensorType{DType::u8, {3}}));
  EXPECT_EQ(result->find("c"), nullptr);
  // The views point into the file.
  EXPECT_EQ(static_cast<const void*>(result->find("b")->data.data()),
            file.data() + file.size() - 3);
  EXPECT_EQ(result->header_bytes, file.size() - 11);
}

TEST(Safetensors, ReadsAFileWithoutTensors) {
  auto result = parse(file_of("{}"));
  ASSERT_TRUE(result) << result.error().to_string();
  EXPECT_TRUE(result->tensors.empty());
}

TEST(Safetensors, WritesWhatItReadsInTheGivenOrder) {
  std::vector<std::byte> bytes(4096);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7);
  std::vector<TensorView> tensors;
  std::size_t used = 0;
  for (const auto& [name, type] : std::vector<std::pair<std::string, TensorType>>{
           {"z \"quoted\" \xe7\xae\x97", graph::f32({3, 5})},
           {"scalar", {DType::i64, {}}},
           {"none", graph::f32({0, 7})},
           {"half", graph::bf16({11})},
           {"ids", graph::i32({2, 2, 2})},
           {"bytes", {DType::u8, {13}}}}) {
    const auto size = static_cast<std::size_t>(type.bytes().value());
    tensors.push_back({name, type, ByteSpan(bytes).subspan(used, size)});
    used += size;
  }
  const std::map<std::string, std::string> metadata{{"step", "7"}, {"a\n", "\"b\""}};
  const std::string path = testing::TempDir() + "/safetensors_test_round_trip.st";
  ASSERT_TRUE(save_safetensors(path, tensors, metadata));

  auto file = MappedFile::open(path);
  ASSERT_TRUE(file);
  auto result = parse_safetensors(file->bytes(), path);
  ASSERT_TRUE(result) << result.error().to_string();
  EXPECT_EQ(result->metadata, metadata);
  EXPECT_EQ(result->header_bytes % 64, 0u);
  ASSERT_EQ(result->tensors.size(), tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(result->tensors[i].type, tensors[i].type);
    EXPECT_TRUE(std::ranges::equal(result->tensors[i].data, tensors[i].data)) << i;
    if (tensors[i].type.elements() > 0) {
      EXPECT_EQ(result->tensors[i].name, tensors[i].name);
    }
  }
  std::filesystem::remove(path);
}

TEST(Safetensors, HeaderIsWhatOtherReadersExpect) {
  const std::byte data[8]{};
  const TensorView tensor{"w", graph::f32({2}), data};
  const std::string json = R"({"__metadata__":{"k":"v"},"w":{"dtype":"F32","shape":[2],)"
                           R"("data_offsets":[0,8]}})";
  const std::string header = safetensors_header({&tensor, 1}, {{"k", "v"}});
  EXPECT_EQ(header.size(), 128u);
  EXPECT_EQ(header, file_of(json + std::string(120 - json.size(), ' ')));
}

TEST(SafetensorsDeathTest, WriterRefusesToBreakTheFormat) {
  const std::byte data[8]{};
  const TensorView good{"w", graph::f32({2}), data};
  const TensorView twice[] = {good, good};
  EXPECT_DEATH(safetensors_header(twice, {}), "internal check failed");
  const TensorView wrong_size{"w", graph::f32({3}), data};
  EXPECT_DEATH(safetensors_header({&wrong_size, 1}, {}), "internal check failed");
  const TensorView reserved{"__metadata__", graph::f32({2}), data};
  EXPECT_DEATH(safetensors_header({&reserved, 1}, {}), "internal check failed");
}

TEST(Safetensors, RefusesFilesOfAnotherKind) {
  EXPECT_THAT(refusal("", ErrorCode::empty), HasSubstr("is empty"));
  EXPECT_THAT(refusal("\x02"), HasSubstr("ends after 1 bytes"));
  EXPECT_THAT(refusal("PK\x03\x04 a zip archive", ErrorCode::foreign),
              HasSubstr("not a safetensors file"));
  EXPECT_THAT(refusal(file_of("[1]"), ErrorCode::foreign), HasSubstr("'[1]'"));
  EXPECT_THAT(refusal(file_of(" {}"), ErrorCode::foreign), HasSubstr("begins with ' {}'"));
  EXPECT_THAT(refusal(file_of(""), ErrorCode::foreign), HasSubstr("begins with ''"));
  std::string huge = file_of("{}");
  huge[7] = '\x7f';
  EXPECT_THAT(refusal(huge, ErrorCode::foreign), HasSubstr("9151314442816847874"));
}

TEST(Safetensors, RefusesEveryTruncation) {
  const std::string whole = file_of(one_tensor("\"F32\"", "[2]", "[0,8]"), "12345678");
  ASSERT_TRUE(parse(whole));
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(parse(whole.substr(0, size))) << size;
  EXPECT_THAT(refusal(whole.substr(0, whole.size() - 1)),
              HasSubstr("tensor 't' has data_offsets 0 to 8 but the file holds 7 bytes"));
  EXPECT_THAT(refusal(whole + "x"), HasSubstr("end at data byte 8 but the file holds 9 bytes"));
}

TEST(Safetensors, RefusesBadJson) {
  EXPECT_THAT(refusal(file_of("{\"t\":")), HasSubstr("cannot be read"));
  EXPECT_THAT(refusal(file_of(R"({"t":1})")),
              HasSubstr("tensor 't' is described by no JSON object"));
  EXPECT_THAT(refusal(file_of(R"({"t":{},"t":{}})")), HasSubstr("key 't' twice"));
  EXPECT_THAT(refusal(file_of(R"({"__metadata__":{"k":1}})")), HasSubstr("'k', which is not text"));
  EXPECT_THAT(refusal(file_of(R"({"__metadata__":[]})")), HasSubstr("'__metadata__'"));
  EXPECT_THAT(refusal(file_of(R"({"t":{"dtype":"F32","shape":[0]}})")),
              HasSubstr("no 'data_offsets'"));
}

TEST(Safetensors, RefusesBadTypes) {
  EXPECT_THAT(refusal(file_of(one_tensor("\"F16\"", "[1]", "[0,2]"), "ab"), ErrorCode::unsupported),
              HasSubstr("tensor 't' has dtype F16"));
  EXPECT_THAT(refusal(file_of(one_tensor("\"F33\"", "[1]", "[0,4]"), "abcd")),
              HasSubstr("unknown dtype 'F33'"));
  EXPECT_THAT(refusal(file_of(one_tensor("4", "[1]", "[0,4]"), "abcd")), HasSubstr("'dtype'"));
  EXPECT_THAT(refusal(file_of(one_tensor("\"F32\"", "1", "[0,4]"), "abcd")), HasSubstr("'shape'"));
  for (const char* dimension : {"-1", "1.5", "\"1\"", "18446744073709551615", "null"})
    EXPECT_THAT(refusal(file_of(one_tensor("\"F32\"", "[" + std::string(dimension) + "]", "[0,4]"),
                                "abcd")),
                HasSubstr("dimension"))
        << dimension;
  EXPECT_THAT(refusal(file_of(one_tensor("\"U8\"", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), "a")),
              HasSubstr("too many dimensions"));
  // The product overflows 64 bits to 0.
  EXPECT_THAT(refusal(file_of(one_tensor("\"U8\"", "[1099511627776,16777216]", "[0,0]"))),
              HasSubstr("too many dimensions or elements"));
}

TEST(Safetensors, RefusesBadOffsets) {
  const auto offsets = [](std::string_view text) {
    return refusal(file_of(one_tensor("\"F32\"", "[1]", text), "abcd"));
  };
  EXPECT_THAT(offsets("[4,0]"), HasSubstr("run backwards"));
  EXPECT_THAT(offsets("[0,5]"), HasSubstr("0 to 5 but the file holds 4 bytes"));
  EXPECT_THAT(offsets("[0,18446744073709551615]"), HasSubstr("18446744073709551615"));
  EXPECT_THAT(offsets("[0,3]"), HasSubstr("type f32[1] takes 4 bytes"));
  EXPECT_THAT(offsets("[0]"), HasSubstr("'data_offsets'"));
  EXPECT_THAT(offsets("[-4,0]"), HasSubstr("'data_offsets'"));
  EXPECT_THAT(offsets("[0,4.0]"), HasSubstr("'data_offsets'"));
}

TEST(Safetensors, RefusesOverlapsAndHoles) {
  const auto pair = [](std::string_view second, std::string_view data) {
    return refusal(file_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                           R"("b":{"dtype":"U8","shape":[2],"data_offsets":)" +
                               std::string(second) + "}}",
                           data));
  };
  EXPECT_EQ(pair("[4,6]", "abcdef"), "(accepted)");
  EXPECT_THAT(pair("[3,5]", "abcde"),
              HasSubstr("'b' begins at data byte 3 inside the tensor before"));
  EXPECT_THAT(pair("[0,2]", "abcd"), HasSubstr("inside the tensor before it"));
  EXPECT_THAT(pair("[5,7]", "abcdefg"), HasSubstr("leaves a hole after 4"));
}

}  // namespace
}  // namespace suanli::model
