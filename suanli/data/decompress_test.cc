#include "suanli/data/decompress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "suanli/base/file.h"
#include "suanli/base/philox.h"
#include "suanli/base/test_folder.h"
#include "suanli/data/compress_for_test.h"

namespace suanli::data {
namespace {

using ::testing::HasSubstr;

// Text that compresses a little, larger than every buffer on the way.
std::string long_text() {
  const Philox random(3, Stream::test);
  std::string text(1'500'000, ' ');
  for (std::size_t i = 0; i < text.size(); ++i)
    text[i] = static_cast<char>('a' + random.below(16, i));
  return text;
}

Result<std::string> read_source(const std::string& path, std::size_t piece = 10'000) {
  SUANLI_ASSIGN_OR_RETURN(const auto source, open_source(path));
  std::string text;
  std::vector<std::byte> buffer(piece);
  while (true) {
    SUANLI_ASSIGN_OR_RETURN(const std::size_t count, source->read(buffer));
    if (count == 0) return text;
    text.append(reinterpret_cast<const char*>(buffer.data()), count);
  }
}

struct Kind {
  const char* suffix;
  std::string (*compress)(const std::string&);
};

class Decompress : public ::testing::TestWithParam<Kind> {
 protected:
  Result<std::string> read_back(const std::string& compressed, std::size_t piece = 10'000) {
    const std::string path = folder_ / (std::string("x.txt") + GetParam().suffix);
    std::ofstream(path, std::ios::binary) << compressed;
    return read_source(path, piece);
  }
  std::string compress(const std::string& text) { return GetParam().compress(text); }
  TestFolder folder_;
};

TEST_P(Decompress, GivesTheTextBack) {
  const std::string text = long_text();
  for (const std::size_t piece : {1'000, 2'000'000}) {
    const auto read = read_back(compress(text), piece);
    ASSERT_TRUE(read) << read.error().to_string();
    EXPECT_EQ(*read, text);
  }
  EXPECT_EQ(read_back(compress("one byte at a time"), 1).value(), "one byte at a time");
  EXPECT_EQ(read_back(compress("")).value(), "");
}

TEST_P(Decompress, StreamsInARowAreOneText) {
  EXPECT_EQ(read_back(compress("first ") + compress("") + compress("second")).value(),
            "first second");
  EXPECT_EQ(read_back(compress(long_text()) + compress("end")).value(), long_text() + "end");
}

TEST_P(Decompress, HighCompressionStreamsThrough) {
  const std::string zeros(50'000'000, '\0');
  EXPECT_EQ(read_back(compress(zeros))->size(), zeros.size());
}

TEST_P(Decompress, EveryTruncationIsAnError) {
  const std::string whole = compress("a short text, a short text, and again a short text");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const auto read = read_back(whole.substr(0, size));
    ASSERT_FALSE(read) << size;
    EXPECT_EQ(read.error().code, ErrorCode::corrupt) << size;
    EXPECT_THAT(read.error().message,
                HasSubstr("cut short at compressed byte " + std::to_string(size)));
    EXPECT_THAT(read.error().place, HasSubstr("x.txt"));
  }
  // The second stream counts as much as the first.
  EXPECT_FALSE(read_back(whole + whole.substr(0, whole.size() - 1)));
}

TEST_P(Decompress, DamageIsFoundByTheChecksum) {
  std::string damaged = compress(long_text());
  damaged[damaged.size() / 2] = static_cast<char>(damaged[damaged.size() / 2] ^ 1);
  const auto read = read_back(damaged);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, ErrorCode::corrupt);
  EXPECT_THAT(read.error().message, HasSubstr("damaged"));
}

TEST_P(Decompress, OtherContentIsForeign) {
  const auto read = read_back("plain text with a wrong name");
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, ErrorCode::foreign);
}

TEST_P(Decompress, ForeignBytesAfterTheEndAreAnError) {
  EXPECT_EQ(read_back(compress("text") + "and then something else").error().code,
            ErrorCode::corrupt);
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, Decompress,
    ::testing::Values(Kind{".gz", [](const std::string& text) { return gzip(text); }},
                      Kind{".zst", [](const std::string& text) { return zstd(text); }}),
    [](const auto& param) { return std::string(param.param.suffix + 1); });

TEST(DecompressFile, GzipMayEndInZeroPadding) {
  TestFolder folder;
  ASSERT_TRUE(write_file_atomic(folder / "x.gz", as_bytes(gzip("text") + std::string(512, '\0'))));
  EXPECT_EQ(read_source(folder / "x.gz").value(), "text");
}

TEST(DecompressFile, PlainFilesPassThroughAndCount) {
  TestFolder folder;
  ASSERT_TRUE(write_file_atomic(folder / "x.txt", as_bytes("some text")));
  const auto source = *open_source(folder / "x.txt");
  std::vector<std::byte> buffer(100);
  EXPECT_EQ(source->read(buffer).value(), 9u);
  EXPECT_EQ(source->consumed(), 9u);
  EXPECT_EQ(source->read(buffer).value(), 0u);
}

TEST(DecompressFile, MissingFileAndFolderAreErrors) {
  EXPECT_EQ(open_source("/nonexistent.gz").error().code, ErrorCode::not_found);
  EXPECT_EQ(read_source("/").error().code, ErrorCode::io);
}

TEST(DecompressFile, NameWithoutCompression) {
  EXPECT_EQ(without_compression("a/b.jsonl.zst"), "a/b.jsonl");
  EXPECT_EQ(without_compression("a.gz"), "a");
  EXPECT_EQ(without_compression("a.txt"), "a.txt");
}

}  // namespace
}  // namespace suanli::data
