// Shards over real links, under TLS.
#include "suanli/pool/shard_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <mutex>
#include <thread>

#include "suanli/base/clock.h"
#include "suanli/base/test_folder.h"
#include "suanli/data/dataset_for_test.h"
#include "suanli/data/shard_cache.h"
#include "suanli/net/two_nodes_for_test.h"
#include "suanli/pool/shard_feed.h"
#include "suanli/pool/shard_peer.h"

namespace suanli::pool {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const std::atomic<bool> kGoOn = false;

// Two peers: each serves what its `find` gives, and asks the other. As the owner of a link does it, by kind.
class TwoPeers {
 public:
  struct End {
    std::shared_ptr<ShardService> service;
    std::shared_ptr<PeerShards> other;  // the peer as a source
    std::shared_ptr<net::Link> link;
    Status broken;  // what the peer was found to have done
    std::mutex mutex;  // guards those above
  };

  explicit TwoPeers(ShardService::Find find, ShardServiceOptions serving = {}, PeerShardsOptions asking = {},
                    net::NodeOptions dialling = {}, net::NodeOptions listening = {}) {
    server_.service = std::make_shared<ShardService>(std::vector{find}, serving);
    asker_.service = std::make_shared<ShardService>(std::vector{std::move(find)}, serving);
    nodes_ = std::make_unique<net::TwoNodes>(std::move(dialling), std::move(listening), [this](net::Link& link, bool is_dialler) {
      End& end = is_dialler ? asker_ : server_;
      link.on_message([this, &end, weak = link.weak_from_this()](std::uint32_t kind, std::span<const std::byte> payload) {
        on_message(end, weak.lock(), kind, payload);
      });
    });
    const net::LinkPair links = nodes_->connect();
    const std::lock_guard one(asker_.mutex);
    asker_.link = links.dialler;
    asker_.other = std::make_shared<PeerShards>(links.dialler, "server", asking);
    const std::lock_guard two(server_.mutex);
    server_.link = links.listener;
    server_.other = std::make_shared<PeerShards>(links.listener, "asker", asking);
  }
  ~TwoPeers() { nodes_.reset(); }

  End& asker() { return asker_; }
  End& server() { return server_; }
  void end_nodes() { nodes_.reset(); }

 private:
  void on_message(End& end, const std::shared_ptr<net::Link>& link, std::uint32_t kind, std::span<const std::byte> payload) {
    std::shared_ptr<PeerShards> other;
    std::shared_ptr<ShardService> service;
    {
      const std::lock_guard lock(end.mutex);
      other = end.other;
      service = end.service;
    }
    const Status status = kind == kShardAnswerKind ? other->on_answer(payload) : service->on_message(link, kind, payload);
    if (status) return;
    const std::lock_guard lock(end.mutex);
    end.broken = status;
    link->close(status.error());
  }

  End asker_, server_;
  std::unique_ptr<net::TwoNodes> nodes_;
};

class ShardServices : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(folder_ / "dataset");
    info_ = data::write_dataset_for_test(folder_ / "dataset", data::texts_for_test(4, 3'000'000));
    dataset_ = std::make_shared<data::FolderShards>(folder_ / "dataset", info_);
  }
  ShardService::Find find() {
    return [dataset = dataset_](const Digest& digest) { return dataset->find(digest); };
  }
  data::WantedShard wanted(std::size_t i) { return data::wanted_shard(info_, info_.of(data::Split::train)[i]).value(); }
  std::unique_ptr<data::ShardCache> cache(const std::string& name) {
    return data::ShardCache::open(folder_ / name, Bytes(100'000'000)).value();
  }
  Status fetch(data::ShardSource& source, std::size_t i, const std::atomic<bool>& stop = kGoOn) {
    std::vector<std::byte> bytes(wanted(i).bytes);
    SUANLI_RETURN_IF_ERROR(source.fetch(wanted(i), bytes, stop));
    EXPECT_TRUE(std::ranges::equal(bytes, dataset_->find(wanted(i).digest)->file_bytes()));
    return {};
  }

  TestFolder folder_;
  data::DatasetInfo info_;
  std::shared_ptr<data::FolderShards> dataset_;
};

TEST_F(ShardServices, BringShardsWhole) {
  // Parts that divide nothing evenly, one part in all, and the usual.
  for (const std::uint64_t part : {std::uint64_t{999'983}, kMostShardPartBytes, std::uint64_t{1} << 20}) {
    TwoPeers peers(find(), {}, {.part_bytes = part});
    for (std::size_t i = 0; i < 4; ++i) EXPECT_TRUE(fetch(*peers.asker().other, i));
    const std::uint64_t parts = 4 * ((wanted(0).bytes + part - 1) / part);
    while (peers.server().service->counts().sent < parts) real_clock().sleep_for(Seconds(0.002));
    EXPECT_EQ(peers.server().service->counts().asked, parts);
    EXPECT_EQ(peers.server().service->counts().bytes, Bytes(static_cast<std::int64_t>(4 * wanted(0).bytes)));
    EXPECT_EQ(peers.server().service->counts().under_way, 0U);
  }
}

TEST_F(ShardServices, BothWaysAtOnceAndByManyThreads) {
  TwoPeers peers(find(), {.most_parts_per_link = 2, .most_parts = 3});
  std::vector<std::jthread> threads;
  for (std::size_t i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] { EXPECT_TRUE(fetch(*peers.asker().other, i)); });
    threads.emplace_back([&, i] { EXPECT_TRUE(fetch(*peers.server().other, i)); });
  }
}

TEST_F(ShardServices, SayWhatTheyDoNotHold) {
  TwoPeers peers([](const Digest&) { return std::shared_ptr<const data::Shard>(); });
  const Status fetched = fetch(*peers.asker().other, 0);
  ASSERT_FALSE(fetched);
  EXPECT_EQ(fetched.error().code, ErrorCode::not_found);
  EXPECT_GE(peers.server().service->counts().absent, 1U);
}

TEST_F(ShardServices, RefuseWhatTheShardDoesNotHave) {
  TwoPeers peers(find());
  data::WantedShard longer = wanted(0);
  longer.bytes += 5'000'000;
  std::vector<std::byte> bytes(longer.bytes);
  const Status fetched = peers.asker().other->fetch(longer, bytes, kGoOn);
  ASSERT_FALSE(fetched);
  EXPECT_EQ(fetched.error().code, ErrorCode::mismatch);
  EXPECT_THAT(fetched.error().message, HasSubstr(std::to_string(wanted(0).bytes)));
  EXPECT_TRUE(fetch(*peers.asker().other, 0)) << "the link goes on";
}

TEST_F(ShardServices, RefuseAsksWithoutEnd) {
  // The first look-up does not return before the asks are counted, so they have to wait, and most of them must not.
  std::atomic<bool> held = true;
  const auto slow_find = [&](const Digest& digest) {
    while (held) real_clock().sleep_for(Seconds(0.002));
    return dataset_->find(digest);
  };
  TwoPeers peers(slow_find, {.most_waiting_per_link = 3}, {.part_bytes = 100'000, .parts_ahead = 20});
  std::jthread later([&] {
    while (peers.server().service->counts().refused < 10) real_clock().sleep_for(Seconds(0.002));
    held = false;
  });
  const Status fetched = fetch(*peers.asker().other, 0);
  ASSERT_FALSE(fetched);
  EXPECT_EQ(fetched.error().code, ErrorCode::busy);
}

TEST_F(ShardServices, EndWhatIsNotWantedAnyMore) {
  net::NodeOptions slow;
  slow.link.pace = BytesPerSecond(1e6);
  TwoPeers peers(find(), {}, {}, {}, slow);
  std::atomic<bool> stop = false;
  std::jthread later([&] {
    while (peers.server().service->counts().under_way == 0) real_clock().sleep_for(Seconds(0.002));
    stop = true;
  });
  EXPECT_EQ(fetch(*peers.asker().other, 0, stop).error().code, ErrorCode::interrupted);
  while (peers.server().service->counts().under_way + peers.server().service->counts().waiting > 0)
    real_clock().sleep_for(Seconds(0.002));
  EXPECT_GT(peers.server().service->counts().given_up, 0U);
}

TEST_F(ShardServices, ALinkThatIsLostEndsBothSides) {
  net::NodeOptions slow;
  slow.link.pace = BytesPerSecond(1e6);
  TwoPeers peers(find(), {}, {}, {}, slow);
  std::jthread later([&] {
    while (peers.server().service->counts().under_way == 0) real_clock().sleep_for(Seconds(0.002));
    peers.server().link->close();
  });
  EXPECT_FALSE(fetch(*peers.asker().other, 0));
  while (peers.server().service->counts().under_way > 0) real_clock().sleep_for(Seconds(0.002));
  later.join();
  EXPECT_FALSE(fetch(*peers.asker().other, 1)) << "and at once if it is asked later";
}

TEST_F(ShardServices, AServiceThatEndsEndsItsTransfers) {
  net::NodeOptions slow;
  slow.link.pace = BytesPerSecond(1e6);
  TwoPeers peers(find(), {}, {.patience = Seconds(0.5)}, {}, slow);
  std::jthread later([&] {
    while (peers.server().service->counts().under_way == 0) real_clock().sleep_for(Seconds(0.002));
    auto none = std::make_shared<ShardService>(std::vector<ShardService::Find>(), ShardServiceOptions());
    const std::lock_guard lock(peers.server().mutex);
    peers.server().service.swap(none);
  });
  EXPECT_FALSE(fetch(*peers.asker().other, 0));
}

TEST_F(ShardServices, NodesThatEndLeaveNobodyWaiting) {
  net::NodeOptions slow;
  slow.link.pace = BytesPerSecond(1e6);
  TwoPeers peers(find(), {}, {.patience = Seconds(5)}, {}, slow);
  std::jthread later([&] {
    while (peers.server().service->counts().under_way == 0) real_clock().sleep_for(Seconds(0.002));
    peers.end_nodes();
  });
  EXPECT_FALSE(fetch(*peers.asker().other, 0));
}

TEST_F(ShardServices, APeerThatBreaksTheProtocolLosesTheLink) {
  for (const auto& [kind, payload] : std::vector<std::pair<std::uint32_t, std::string>>{
           {kShardAskKind, "short"},
           {kShardAskKind, encode(ShardAsk{0, sha256("x"), 0, 1})},
           {kShardAskKind, encode(ShardAsk{1, sha256("x"), 0, std::uint64_t{1} << 40})},
           {kShardAnswerKind, encode(ShardAnswer{77, ShardVerdict::coming, 5})},
           {kShardWithdrawKind, "?"}}) {
    TwoPeers peers(find());
    ASSERT_TRUE(peers.asker().link->send_message(kind, as_bytes(payload)));
    while (!peers.server().link->is_closed()) real_clock().sleep_for(Seconds(0.002));
    const std::lock_guard lock(peers.server().mutex);
    EXPECT_EQ(peers.server().broken.error().code, ErrorCode::protocol);
  }
  TwoPeers peers(find());
  const std::string ask = encode(ShardAsk{5, {}, 0, 1});
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(peers.asker().link->send_message(kShardAskKind, as_bytes(ask)));
  while (!peers.server().link->is_closed()) real_clock().sleep_for(Seconds(0.002));
}

TEST_F(ShardServices, AColdWorkerStartsFromThePeerAndServesWhatItGot) {
  constexpr std::int64_t kContext = 512, kRows = 4;
  const auto dataset = data::Dataset::open(folder_ / "dataset").value();
  const auto windows = data::Windows::create(dataset, data::Split::train, kContext).value();
  const auto sampler = data::Sampler::create(windows.count(), kRows, 7).value();
  const auto first_cache = cache("first"), second_cache = cache("second");
  const auto run = [&](data::ShardCache& into, std::vector<std::shared_ptr<data::ShardSource>> sources) {
    std::vector<std::string> warnings;
    ShardFeedOptions options;
    options.warn = [&](const std::string& text) { warnings.push_back(text); };
    const auto feed = ShardFeed::create(info_, kContext, sampler, kRows, into, std::move(sources), options).value();
    train::Batch batch(kRows, kContext), local(kRows, kContext);
    for (std::int64_t step = 0; step < 20; ++step) {
      const Status filled = feed->fill(batch, step, 0);
      ASSERT_TRUE(filled) << filled.error().to_string();
      ASSERT_TRUE(local.fill(windows, sampler, step, 0));
      for (std::int64_t row = 0; row < kRows; ++row) {
        ASSERT_TRUE(std::ranges::equal(batch.row(row).inputs, local.row(row).inputs));
        ASSERT_TRUE(std::ranges::equal(batch.row(row).targets, local.row(row).targets));
      }
    }
    EXPECT_THAT(warnings, IsEmpty());
  };
  {
    TwoPeers submitter(find());
    run(*first_cache, {submitter.asker().other});
  }
  TwoPeers worker([&](const Digest& digest) { return first_cache->peek(digest); });
  run(*second_cache, {worker.asker().other});
  EXPECT_EQ(second_cache->size(), first_cache->size());
}

}  // namespace
}  // namespace suanli::pool
