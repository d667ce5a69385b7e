#include "suanli/train/activation_store.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <map>

#include "suanli/base/philox.h"
#include "suanli/base/test_folder.h"

namespace suanli::train {
namespace {

using testing::HasSubstr;
using Key = ActivationStore::Key;
using Buffer = std::vector<std::byte>;

Buffer random_buffer(std::size_t size, std::uint64_t seed) {
  const Philox random(seed, Stream::test);
  Buffer buffer(size);
  for (std::size_t i = 0; i < size; ++i) buffer[i] = static_cast<std::byte>(random.bits(i) & 0xFF);
  return buffer;
}

ActivationStore make(ActivationStore::Options options) {
  auto store = ActivationStore::create(std::move(options));
  EXPECT_TRUE(store) << store.error().to_string();
  return std::move(*store);
}

// What a store holds of each key, "" for nothing.
std::optional<Buffer> held(ActivationStore& store, Key key, std::size_t size) {
  Buffer buffer(size);
  const Result<bool> found = store.get(key, buffer);
  EXPECT_TRUE(found) << found.error().to_string();
  return *found ? std::optional(buffer) : std::nullopt;
}

std::size_t size_of(Key key) { return key.boundary == 0 ? 300 : 500; }

// Random puts, gets and erasures; `model` is a plain map of what was kept.
void play(ActivationStore& store, std::map<Key, std::pair<std::uint64_t, Buffer>>& model, std::uint64_t seed, int calls) {
  const Philox random(seed, Stream::test);
  for (int i = 0; i < calls; ++i) {
    const auto at = static_cast<std::uint64_t>(i);
    const Key key{static_cast<std::int32_t>(random.below(2, 4 * at)), static_cast<std::int64_t>(random.below(40, 4 * at + 1))};
    const std::uint64_t what = random.below(10, 4 * at + 2);
    if (what < 5) {
      const Buffer buffer = random_buffer(size_of(key), seed * 100'000 + at);
      const Result<bool> kept = store.put(key, at, buffer);
      ASSERT_TRUE(kept) << kept.error().to_string();
      if (*kept)
        model[key] = {at, buffer};
      else
        model.erase(key);
    } else if (what < 9) {
      const auto found = held(store, key, size_of(key));
      ASSERT_EQ(found.has_value(), model.contains(key));
      if (found) {
        ASSERT_EQ(*found, model[key].second);
      }
    } else {
      store.erase(key);
      model.erase(key);
    }
    ASSERT_EQ(store.mark(key).has_value(), model.contains(key));
    if (model.contains(key)) {
      ASSERT_EQ(*store.mark(key), (ActivationStore::Mark{model[key].first, sha256(model[key].second)}));
    }
  }
}

TEST(ActivationStore, IsAMapWithinItsBounds) {
  const TestFolder folder;
  const std::vector<std::pair<int, int>> limits = {{1 << 20, 0}, {5000, 1 << 20}, {0, 1 << 20}, {5000, 6000}, {0, 0}};
  for (const auto& [memory, disk] : limits) {
    ActivationStore store = make({.memory = Bytes(memory), .disk = Bytes(disk), .folder = folder.path()});
    std::map<Key, std::pair<std::uint64_t, Buffer>> model;
    for (std::uint64_t round = 0; round < 20; ++round) {
      play(store, model, round + 1, 100);
      EXPECT_LE(store.stats().memory, Bytes(memory));
      EXPECT_LE(store.stats().disk, Bytes(disk));
      EXPECT_EQ(store.stats().entries, static_cast<std::int64_t>(model.size()));
    }
    EXPECT_EQ(store.stats().refused > 0, memory + disk < 32'000);
    EXPECT_EQ(store.stats().spilled > 0, disk > 0);
    EXPECT_EQ(store.stats().damaged, 0);
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));  // spill files have no names
}

// An epoch in a new order each time: what is kept stays kept, and is as much as fits.
TEST(ActivationStore, FirstComeStays) {
  ActivationStore store = make({.memory = Bytes(10 * 64)});
  for (std::uint64_t epoch = 0; epoch < 4; ++epoch) {
    int found = 0;
    for (std::int64_t i = 0; i < 30; ++i) {
      const Key key{0, (i * 7 + static_cast<std::int64_t>(epoch) * 11) % 30};
      found += held(store, key, 64).has_value();
      ASSERT_TRUE(store.put(key, epoch, random_buffer(64, epoch * 100 + static_cast<std::uint64_t>(i))));
    }
    EXPECT_EQ(found, epoch == 0 ? 0 : 10);
  }
}

TEST(ActivationStore, WhatIsNoLongerUsedGivesWay) {
  const TestFolder folder;
  ActivationStore store =
      make({.memory = Bytes(5 * 64), .disk = Bytes(5 * 64), .folder = folder.path(), .stale_after = 40});
  const Buffer buffer = random_buffer(64, 1);
  for (std::int64_t i = 0; i < 10; ++i) EXPECT_TRUE(*store.put({0, i}, 0, buffer));
  EXPECT_FALSE(*store.put({0, 99}, 0, buffer));
  // Other samples from here on: the first ones go once they are 40 uses old, and those used since stay.
  std::int64_t next = 100;
  while (next < 200) {
    EXPECT_TRUE(held(store, {0, 3}, 64).has_value());
    ASSERT_TRUE(store.put({0, next++}, 0, buffer));
    EXPECT_LE(store.stats().memory + store.stats().disk, Bytes(10 * 64));
  }
  EXPECT_TRUE(store.mark({0, 3}).has_value());
  EXPECT_FALSE(store.mark({0, 4}).has_value());
  EXPECT_GE(store.stats().evicted, 9);
}

TEST(ActivationStore, SameCallsGiveTheSameStore) {
  const TestFolder folder;
  const ActivationStore::Options options{.memory = Bytes(4000), .disk = Bytes(4000), .folder = folder.path(), .stale_after = 60};
  ActivationStore one = make(options), two = make(options);
  std::map<Key, std::pair<std::uint64_t, Buffer>> model;
  for (std::uint64_t call = 0; call < 2000; ++call) {
    const Philox random(9, Stream::test);
    const Key key{0, static_cast<std::int64_t>(random.below(60, call))};
    const Buffer buffer = random_buffer(size_of(key), call);
    ASSERT_EQ(*one.put(key, call, buffer), *two.put(key, call, buffer));
  }
  for (std::int64_t sample = 0; sample < 60; ++sample) EXPECT_EQ(one.mark({0, sample}), two.mark({0, sample}));
}

TEST(ActivationStore, SurvivesSaveAndRestore) {
  const TestFolder folder;
  const ActivationStore::Options options{.memory = Bytes(5000), .disk = Bytes(1 << 20), .folder = folder.path()};
  ActivationStore store = make(options);
  std::map<Key, std::pair<std::uint64_t, Buffer>> model;
  play(store, model, 3, 1000);
  ASSERT_TRUE(store.save(folder / "saved"));
  auto restored = ActivationStore::restore(folder / "saved", options);
  ASSERT_TRUE(restored) << restored.error().to_string();
  for (const auto& [key, entry] : model) EXPECT_EQ(held(*restored, key, size_of(key)), entry.second);
  auto other = model;
  restored = ActivationStore::restore(folder / "saved", options);
  // From here on both go the same way, and are the same file in the end.
  play(store, model, 4, 1000);
  play(*restored, other, 4, 1000);
  ASSERT_TRUE(store.save(folder / "one") && restored->save(folder / "two"));
  EXPECT_EQ(*read_file(folder / "one"), *read_file(folder / "two"));

  const auto smaller = ActivationStore::restore(folder / "saved", {.memory = Bytes(2000)});
  ASSERT_TRUE(smaller);
  EXPECT_LE(smaller->stats().memory, Bytes(2000));
  EXPECT_GE(smaller->stats().entries, 4);
}

TEST(ActivationStore, ABufferOfAnotherSizeIsAnError) {
  ActivationStore store = make({});
  ASSERT_TRUE(*store.put({2, 5}, 1, random_buffer(100, 1)));
  Buffer buffer(99);
  const auto got = store.get({2, 5}, buffer);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, ErrorCode::mismatch);
  EXPECT_THAT(got.error().to_string(), HasSubstr("boundary 2"));
  EXPECT_TRUE(*store.put({2, 5}, 2, buffer));  // a put may change it
  EXPECT_EQ(held(store, {2, 5}, 99), buffer);
  EXPECT_EQ(store.stats().memory, Bytes(99));
}

TEST(ActivationStore, ABoundaryIsErasedWhole) {
  ActivationStore store = make({});
  for (const std::int32_t boundary : {-1, 0, 1})
    for (std::int64_t sample = -3; sample < 3; ++sample) ASSERT_TRUE(store.put({boundary, sample}, 0, random_buffer(10, 1)));
  store.erase_boundary(0);
  EXPECT_EQ(store.stats().entries, 12);
  EXPECT_EQ(store.stats().memory, Bytes(120));
  EXPECT_FALSE(store.mark({0, -3}) || store.mark({0, 2}));
  EXPECT_TRUE(store.mark({-1, 2}) && store.mark({1, -3}));
}

// The spill file has no name, but its process can reach it.
TEST(ActivationStore, DamageOnDiskIsForgotten) {
  const TestFolder folder;
  ActivationStore store = make({.memory = Bytes(0), .disk = Bytes(1000), .folder = folder.path()});
  for (std::int64_t i = 0; i < 3; ++i) ASSERT_TRUE(*store.put({0, i}, 0, random_buffer(100, static_cast<std::uint64_t>(i))));
  int damaged = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const std::string target = std::filesystem::read_symlink(entry, gone).string();
    if (target.find(folder.path() + "/activations-") == std::string::npos) continue;
    const int descriptor = open(entry.path().c_str(), O_WRONLY | O_CLOEXEC);
    ASSERT_GE(descriptor, 0);
    const char byte = 1;
    damaged += pwrite(descriptor, &byte, 1, 150) == 1;  // in the second slot
    close(descriptor);
  }
  ASSERT_EQ(damaged, 1);
  ASSERT_TRUE(store.mark({0, 1}).has_value());
  ASSERT_TRUE(store.save(folder / "saved"));
  EXPECT_FALSE(held(store, {0, 1}, 100).has_value());
  EXPECT_FALSE(store.mark({0, 1}).has_value());
  EXPECT_EQ(held(store, {0, 2}, 100), random_buffer(100, 2));
  EXPECT_EQ(store.stats().damaged, 1);
  const auto restored = ActivationStore::restore(folder / "saved", {});
  ASSERT_TRUE(restored) << restored.error().to_string();
  EXPECT_EQ(restored->stats().entries, 2);
}

TEST(ActivationStore, BadFilesAreErrorsOfTheirKind) {
  const TestFolder folder;
  ActivationStore store = make({});
  for (std::int64_t i = 0; i < 3; ++i) ASSERT_TRUE(*store.put({0, i}, 7, random_buffer(20, 5)));
  ASSERT_TRUE(store.save(folder / "saved"));
  const std::string good = *read_file(folder / "saved");
  const auto code = [](std::string_view file) {
    const auto parsed = parse_activations(as_bytes(file), "file");
    return parsed ? std::string("fine") : std::string(name_of(parsed.error().code));
  };
  EXPECT_EQ(code(good), "fine");
  EXPECT_EQ(code(""), "empty");
  EXPECT_EQ(code("something else"), "foreign");
  EXPECT_EQ(code(std::string_view(good).substr(0, 50)), "corrupt");
  EXPECT_EQ(code(std::string_view(good).substr(0, good.size() - 1)), "corrupt");
  EXPECT_EQ(code(good + "x"), "corrupt");
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    EXPECT_EQ(code(bad), i < 8 ? "foreign" : i < 12 ? "version" : "corrupt") << i;
  }
  const auto missing = ActivationStore::restore(folder / "none", {});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::not_found);
  const auto nowhere = ActivationStore::create({.disk = Bytes(10), .folder = folder / "none"});
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(nowhere.error().code, ErrorCode::not_found);
}

}  // namespace
}  // namespace suanli::train
