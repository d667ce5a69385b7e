// Measures a link against its bars: beside a bare blocking TLS loop in the same run, and over emulated lines.
//
//   link_bench [--rounds N] [--loopback] [--no-fail]
//
// --loopback leaves the lines out. Prints a table; exits with 1 if a bar is missed. Rates of a busy machine say little alone: the
// bare loop runs alternately. It has the link's keys, cipher, tensors and number of buffers, and both are warm when the clock
// starts; it checks, frames and yields nothing.
#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "suanli/base/clock.h"
#include "suanli/net/two_nodes_for_test.h"

namespace suanli::net {
namespace {

constexpr std::size_t kTensorBytes = 8'000'000;
constexpr int kTensors = 60;  // of a loopback round: 480 MB
constexpr int kUnderWay = 4;  // tensors, and so buffers

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double thread_cpu() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

struct Speed {
  double bytes_per_second = 0, cpu_per_gigabyte = 0;  // both ends
};

constexpr double kRoundBytes = static_cast<double>(kTensorBytes) * kTensors;

using Buffers = std::vector<std::vector<std::byte>>;

// The two ends of a connection on loopback.
std::pair<int, int> connected_sockets() {
  const int listener = socket(AF_INET, SOCK_STREAM, 0), dialler = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  SUANLI_CHECK(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 && listen(listener, 1) == 0);
  SUANLI_CHECK(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  SUANLI_CHECK(connect(dialler, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  const int accepted = accept(listener, nullptr, nullptr);
  SUANLI_CHECK(accepted >= 0);
  close(listener);
  return {dialler, accepted};
}

SSL* shake_hands(const TlsContext& context, TlsVerification& found, int socket) {
  SSL* const tls = context.connect(found);
  SUANLI_CHECK(SSL_set_fd(tls, socket) == 1 && SSL_do_handshake(tls) == 1);
  SSL_clear_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE);
  return tls;
}

// One thread writes each tensor behind its length.
void write_tensors(SSL* tls, const std::vector<std::byte>& data, int count) {
  const auto length = static_cast<std::uint32_t>(data.size());
  for (int i = 0; i < count; ++i) {
    SUANLI_CHECK(SSL_write(tls, &length, sizeof length) == sizeof length);
    SUANLI_CHECK(SSL_write(tls, data.data(), static_cast<int>(length)) == static_cast<int>(length));
  }
  char end = 0;
  SUANLI_CHECK(SSL_read(tls, &end, 1) == 1);
}

// The other reads it.
void read_tensors(SSL* tls, Buffers& buffers, int count) {
  std::uint32_t length = 0;
  for (int i = 0; i < count; ++i) {
    SUANLI_CHECK(SSL_read(tls, &length, sizeof length) == sizeof length);
    std::byte* const into = buffers[static_cast<std::size_t>(i % kUnderWay)].data();
    for (std::size_t at = 0; at < length;) {
      const int part = SSL_read(tls, into + at, static_cast<int>(length - at));
      SUANLI_CHECK(part > 0);
      at += static_cast<std::size_t>(part);
    }
  }
  const char end = 'e';
  SUANLI_CHECK(SSL_write(tls, &end, 1) == 1);
}

// What the machine can do: on each connection one thread writes, one reads, nothing else.
Speed bare_loop(PoolForTest& pool, int connections) {
  const auto context = pool.context(), other = pool.context();
  const std::size_t part_bytes = kTensorBytes / static_cast<std::size_t>(connections);
  const std::vector<std::byte> data(part_bytes, std::byte{'d'});
  std::barrier warm(2 * connections + 1);
  std::atomic<double> cpu = 0;
  std::vector<std::thread> threads;
  const auto run = [&](bool writes, int socket) {
    Buffers buffers(kUnderWay, std::vector<std::byte>(writes ? 0 : part_bytes));
    TlsVerification found;
    found.side.is_server = !writes;
    SSL* const tls = shake_hands(writes ? *other : *context, found, socket);
    const auto go = [&](int count) { writes ? write_tensors(tls, data, count) : read_tensors(tls, buffers, count); };
    go(kUnderWay);
    warm.arrive_and_wait();
    const double before = thread_cpu();
    go(kTensors);
    cpu += thread_cpu() - before;
    warm.arrive_and_wait();
    SSL_free(tls);
    close(socket);
  };
  for (int i = 0; i < connections; ++i) {
    const auto [dialler, accepted] = connected_sockets();
    threads.emplace_back(run, true, dialler);
    threads.emplace_back(run, false, accepted);
  }
  warm.arrive_and_wait();
  const Seconds begin = Reactor::now();
  warm.arrive_and_wait();
  const double seconds = (Reactor::now() - begin).value();
  for (std::thread& each : threads) each.join();
  return {kRoundBytes / seconds, cpu / (kRoundBytes / 1e9)};
}

// `count` tensors, as many under way at a time as there are buffers; the seconds from the first call until the last has arrived.
double send_many(const LinkPair& links, const std::vector<std::byte>& data, Buffers& buffers, int count) {
  std::vector<Awaited<Result<Bytes>>> sent(static_cast<std::size_t>(count)), received(static_cast<std::size_t>(count));
  const Seconds begin = Reactor::now();
  for (int i = 0; i < count + kUnderWay; ++i) {
    if (i >= kUnderWay) {
      const auto ended = static_cast<std::size_t>(i - kUnderWay);
      SUANLI_CHECK(received[ended].get().has_value() && sent[ended].get().has_value());
    }
    if (i >= count) continue;
    const auto now = static_cast<std::size_t>(i);
    links.listener->receive({now, 0}, buffers[now % kUnderWay], {}, received[now].callback());
    links.dialler->send({now, 0}, data, {}, sent[now].callback());
  }
  return (Reactor::now() - begin).value();
}

// A round over a link that is warm; `cpu` tells the seconds of the processor that count.
Speed warm_round(const LinkPair& links, const std::function<double()>& cpu) {
  const std::vector<std::byte> data(kTensorBytes, std::byte{'d'});
  Buffers buffers(kUnderWay, std::vector<std::byte>(kTensorBytes));
  send_many(links, data, buffers, kUnderWay);
  const double before = cpu();
  const double seconds = send_many(links, data, buffers, kTensors);
  return {kRoundBytes / seconds, (cpu() - before) / (kRoundBytes / 1e9)};
}

Speed link_speed(int streams) {
  NodeOptions options;
  options.link.streams = streams;
  TwoNodes nodes(options);
  return warm_round(nodes.connect(), [&] {
    return (nodes.dialler().reactor().cpu_time() + nodes.listener().reactor().cpu_time()).value() + thread_cpu();
  });
}

NodeOptions through(double bits_per_second, double delay) {
  NodeOptions options;
  options.line = [=](const PeerId&) { return LineOptions{.delay = Seconds(delay), .rate = BytesPerSecond(bits_per_second / 8)}; };
  return options;
}

// The share of an emulated line that a long transfer fills.
double share_of_line(double bits_per_second, double delay, std::size_t bytes) {
  TwoNodes nodes(through(bits_per_second, delay), through(bits_per_second, delay));
  const LinkPair links = nodes.connect();
  const std::vector<std::byte> data(bytes / 8, std::byte{'d'});
  Buffers buffers(kUnderWay, std::vector<std::byte>(data.size()));
  const double seconds = send_many(links, data, buffers, 8);
  return static_cast<double>(bytes) * 8 / seconds / bits_per_second;
}

// Round trips of a small message, in seconds, beside a line that bulk saturates one way.
std::vector<double> round_trips_under_load(double bits_per_second) {
  std::atomic<int> echoes = 0;
  const NodeOptions line = through(bits_per_second, 0);
  TwoNodes nodes(line, line, [&](Link& link, bool is_dialler) {
    if (is_dialler) {
      link.on_message([&](std::uint32_t, std::span<const std::byte>) { ++echoes; });
    } else {
      link.on_message(
          [raw = &link](std::uint32_t kind, std::span<const std::byte> payload) { (void)raw->send_message(kind, payload); });
    }
  });
  const LinkPair links = nodes.connect();
  const std::vector<std::byte> data(200'000'000);
  std::vector<std::byte> buffer(data.size());
  Awaited<Result<Bytes>> sent, received;
  links.listener->receive({1, 1}, buffer, {}, received.callback());
  const TransferId id = links.dialler->send({1, 1}, data, {}, sent.callback());
  real_clock().sleep_for(Seconds(0.5));
  std::vector<double> trips;
  const std::vector<std::byte> payload(1000);
  for (int i = 0; i < 100; ++i) {
    const Seconds begin = Reactor::now();
    SUANLI_CHECK(links.dialler->send_message(1, payload).has_value());
    while (echoes <= i) real_clock().sleep_for(Seconds(0.0002));
    trips.push_back((Reactor::now() - begin).value());
    real_clock().sleep_for(Seconds(0.02));
  }
  links.dialler->cancel(id);
  (void)sent.get();
  (void)received.get();
  std::sort(trips.begin(), trips.end());
  return trips;
}

// From the cancel of a 50 MB tensor under way until both ends have their buffers back.
double cancel_seconds(const NodeOptions& line) {
  TwoNodes nodes(line, line);
  const LinkPair links = nodes.connect();
  const std::vector<std::byte> data(50'000'000);
  std::vector<std::byte> buffer(data.size());
  Awaited<Result<Bytes>> sent, received;
  links.listener->receive({1, 1}, buffer, {}, received.callback());
  const TransferId id = links.dialler->send({1, 1}, data, {}, sent.callback());
  real_clock().sleep_for(Seconds(0.1));
  const Seconds begin = Reactor::now();
  links.dialler->cancel(id);
  SUANLI_CHECK(!sent.get().has_value() && !received.get().has_value());
  return (Reactor::now() - begin).value();
}

int missed = 0;

void verdict(const char* what, double value, const char* unit, bool at_least, double bar) {
  const bool met = at_least ? value >= bar : value <= bar;
  missed += met ? 0 : 1;
  std::printf("%-64s %8.3f %-4s bar %s %.3f: %s\n", what, value, unit, at_least ? ">=" : "<=", bar, met ? "met" : "MISSED");
  std::fflush(stdout);
}

void loopback(int rounds) {
  PoolForTest pool;
  // The second is the default of LinkOptions.
  for (const int streams : {1, 2}) {
    std::vector<double> bare_rate, bare_cpu, many_rate, many_cpu, rate, cpu, rate_ratio, cpu_ratio;
    for (int i = 0; i < rounds; ++i) {
      const Speed bare = bare_loop(pool, 1), link = link_speed(streams);
      bare_rate.push_back(bare.bytes_per_second / 1e6), bare_cpu.push_back(bare.cpu_per_gigabyte);
      rate.push_back(link.bytes_per_second / 1e6), cpu.push_back(link.cpu_per_gigabyte);
      rate_ratio.push_back(rate.back() / bare_rate.back()), cpu_ratio.push_back(cpu.back() / bare_cpu.back());
      if (streams == 1) continue;
      const Speed many = bare_loop(pool, streams);
      many_rate.push_back(many.bytes_per_second / bare.bytes_per_second);
      many_cpu.push_back(many.cpu_per_gigabyte / bare.cpu_per_gigabyte);
    }
    std::printf("loopback, %d data stream(s), medians of %d rounds: bare %.0f MB/s %.2f CPU s/GB; link %.0f MB/s %.2f CPU s/GB\n",
                streams, rounds, median(bare_rate), median(bare_cpu), median(rate), median(cpu));
    verdict("rate, of a bare blocking TLS loop's", median(rate_ratio), "", true, 0.9);
    verdict("CPU of both ends, of a bare blocking TLS loop's", median(cpu_ratio), "", false, 1.2);
    if (streams > 1)
      std::printf("(%d bare loops at once, each with two threads of its own: rate %.3f, CPU %.3f of one's)\n", streams,
                  median(many_rate), median(many_cpu));
  }
}

// Two more ends of TLS for each byte, and the copy between: what a relay of this machine could carry.
void relayed() {
  PoolForTest pool;
  Node relay(pool.context(Role::coordinator), {}), one(pool.context(), {});
  const TlsIdentity identity = pool.peer();
  Node other(TlsContext::create(identity).value(), {});
  const Address address = relay.listen({"127.0.0.1", 0}, [](std::shared_ptr<Link>) {}).value();
  relay.allow_relay({});
  Awaited<std::shared_ptr<Link>> arrived;
  other.accept_relayed(arrived.callback());
  Awaited<Result<std::shared_ptr<Link>>> own, connected;
  other.connect(address, {}, Seconds(30), own.callback());
  const auto kept = own.get().value();
  while (relay.links() == 0) real_clock().sleep_for(Seconds(0.01));
  one.connect_through(address, {}, identity.key.id(), "bench", Seconds(30), connected.callback());
  const LinkPair links{connected.get().value(), arrived.get()};
  const Speed speed = warm_round(links, [&] { return relay.reactor().cpu_time().value(); });
  std::printf("loopback, through a relay: %.0f MB/s, %.2f CPU s/GB at the relay\n", speed.bytes_per_second / 1e6,
              speed.cpu_per_gigabyte);
}

}  // namespace
}  // namespace suanli::net

int main(int argc, char** argv) {
  using namespace suanli::net;
  std::signal(SIGPIPE, SIG_IGN);
  int rounds = 9;
  bool no_fail = false, lines = true;
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "--no-fail") no_fail = true;
    if (std::string(argv[i]) == "--loopback") lines = false;
    if (std::string(argv[i]) == "--rounds" && i + 1 < argc) rounds = std::max(1, std::atoi(argv[i + 1]));
  }
  loopback(rounds);
  relayed();
  if (!lines) return missed > 0 && !no_fail ? 1 : 0;
  verdict("emulated 100 Mbit/s, no delay: share of the line", share_of_line(100e6, 0, 40'000'000), "", true, 0.93);
  verdict("emulated 1 Gbit/s, no delay: share of the line", share_of_line(1e9, 0, 400'000'000), "", true, 0.93);
  verdict("emulated 100 Mbit/s, 100 ms each way: share of the line", share_of_line(100e6, 0.1, 80'000'000), "", true, 0.8);
  const std::vector<double> trips = round_trips_under_load(100e6);
  std::printf("round trip of 1 kB beside a saturated 100 Mbit/s: median %.1f ms, 90 %% under %.1f ms, worst %.1f ms\n",
              1e3 * trips[trips.size() / 2], 1e3 * trips[trips.size() * 9 / 10], 1e3 * trips.back());
  verdict("round trip of 1 kB beside a saturated 100 Mbit/s, median", 1e3 * trips[trips.size() / 2], "ms", false, 30);
  verdict("cancel of 50 MB on 1 Gbit/s, both ends free", 1e3 * cancel_seconds(through(1e9, 0)), "ms", false, 100);
  verdict("cancel of 50 MB on 100 Mbit/s, 20 ms each way, both ends free", 1e3 * cancel_seconds(through(100e6, 0.02)), "ms",
          false, 100);
  return missed > 0 && !no_fail ? 1 : 0;
}
