#include "suanli/checkpoint/restore.h"

#include <gmock/gmock.h>

#include "suanli/checkpoint/test_snapshot.h"
#include "suanli/model/safetensors.h"

namespace suanli::checkpoint {
namespace {

using ::testing::HasSubstr;

struct Files {
  Manifest manifest;
  std::string data;
};

Files files_of(const Snapshot& snapshot) {
  std::vector<model::TensorView> views;
  for (const NamedTensor& tensor : snapshot.tensors)
    views.push_back({tensor.name, tensor.type, tensor.bytes()});
  std::string data = model::safetensors_header(views, {});
  Files files{describe(snapshot, data), ""};
  for (const model::TensorView& view : views)
    data.append(reinterpret_cast<const char*>(view.data.data()), view.data.size());
  files.data = data;
  return files;
}

std::string refusal(const Files& files, ErrorCode code, const TensorFilter& filter = {}) {
  const Status status = verify(files.manifest, as_bytes(files.data), "state", filter);
  const auto snapshot = restore(files.manifest, as_bytes(files.data), "state", filter);
  EXPECT_EQ(status.has_value(), snapshot.has_value());
  if (status) return "(accepted)";
  EXPECT_EQ(name_of(status.error().code), name_of(code));
  EXPECT_EQ(status.error().place, "state");
  EXPECT_EQ(status.error().message, snapshot.error().message);
  return status.error().message;
}

TEST(Restore, GivesBackTheSnapshot) {
  const Files files = files_of(test_snapshot(7));
  auto snapshot = restore(files.manifest, as_bytes(files.data), "state", {});
  ASSERT_TRUE(snapshot) << snapshot.error().to_string();
  EXPECT_TRUE(same(*snapshot, test_snapshot(7)));
}

TEST(Restore, RefusesEveryFlippedBit) {
  const Files files = files_of(test_snapshot(7, 1));
  for (std::size_t bit = 0; bit < files.data.size() * 8; bit += 7) {
    Files damaged = files;
    damaged.data[bit / 8] = static_cast<char>(damaged.data[bit / 8] ^ (1 << (bit % 8)));
    ASSERT_FALSE(verify(damaged.manifest, as_bytes(damaged.data), "state", {})) << "bit " << bit;
  }
}

TEST(Restore, NamesTheDamagedTensor) {
  Files files = files_of(test_snapshot(7));
  files.data.back() ^= 1;
  EXPECT_THAT(refusal(files, ErrorCode::corrupt), HasSubstr("tensor 'mask' has SHA-256 "));
  EXPECT_THAT(refusal(files, ErrorCode::corrupt),
              HasSubstr(files.manifest.tensors[5].digest.hex()));
  files.data[3] ^= 1;
  EXPECT_THAT(refusal(files, ErrorCode::corrupt), HasSubstr("the header has SHA-256 "));
}

TEST(Restore, LooksOnlyAtTheSelectedTensors) {
  Files files = files_of(test_snapshot(7));
  files.data.back() ^= 1;
  const auto not_mask = [](std::string_view name) { return name != "mask"; };
  auto snapshot = restore(files.manifest, as_bytes(files.data), "state", not_mask);
  ASSERT_TRUE(snapshot) << snapshot.error().to_string();
  Snapshot expected = test_snapshot(7);
  expected.tensors.pop_back();
  EXPECT_TRUE(same(*snapshot, expected));
}

TEST(Restore, RefusesAnotherSize) {
  Files files = files_of(test_snapshot(7));
  const std::string whole = files.data;
  files.data.pop_back();
  EXPECT_THAT(refusal(files, ErrorCode::corrupt),
              HasSubstr("has " + std::to_string(whole.size() - 1) +
                        " bytes but its manifest says " + std::to_string(whole.size())));
  files.data = whole + "x";
  EXPECT_THAT(refusal(files, ErrorCode::corrupt), HasSubstr("bytes but its manifest says"));
  files.data.clear();
  EXPECT_THAT(refusal(files, ErrorCode::empty), HasSubstr("has 0 bytes"));
}

// Header and manifest each in order, but of two different programs.
TEST(Restore, RefusesADataFileOfOtherTensors) {
  Files files = files_of(test_snapshot(7));
  files.manifest.tensors[1].type.shape = {1, 5};
  EXPECT_THAT(refusal(files, ErrorCode::mismatch),
              HasSubstr("tensor 'h.0.ln.bias' should be bf16[1x5] but is bf16[5]"));
  files = files_of(test_snapshot(7));
  files.manifest.tensors[1].name = "h.1.ln.bias";
  EXPECT_THAT(refusal(files, ErrorCode::mismatch), HasSubstr("'h.1.ln.bias' should be bf16[5] but "
                                                             "is missing"));
  files = files_of(test_snapshot(7));
  files.manifest.tensors.erase(files.manifest.tensors.begin() + 3);  // of no bytes
  EXPECT_THAT(refusal(files, ErrorCode::mismatch), HasSubstr("holds 6 tensors"));
}

}  // namespace
}  // namespace suanli::checkpoint
