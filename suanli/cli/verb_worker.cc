// suanli worker: this machine's place in a pool.
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "suanli/base/clock.h"
#include "suanli/base/system.h"
#include "suanli/base/text.h"
#include "suanli/cli/output.h"
#include "suanli/cli/progress.h"
#include "suanli/cli/signals.h"
#include "suanli/cli/verb.h"
#include "suanli/pool/owner_hours.h"
#include "suanli/pool/worker_process.h"

namespace suanli::cli {
namespace {

constexpr Seconds kLook{0.2};

struct Options {
  bool json = false, with_parent = false, no_urls = false;
  std::string cache, join, listen, folder, name, place, links, memory, share, cap, hours;
  std::int64_t threads = 0;
};

std::string default_folder() {
  if (const char* data = std::getenv("XDG_DATA_HOME"); data != nullptr && data[0] == '/')
    return std::string(data) + "/suanli/worker";
  if (const char* home = std::getenv("HOME"); home != nullptr && home[0] == '/')
    return std::string(home) + "/.local/share/suanli/worker";
  return "suanli-worker";
}

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 && name[0] != '\0' ? name : "worker";
}

// "50%" or "0.5".
Result<double> share_of(const std::string& text) {
  std::string_view number = text;
  const bool is_percent = number.ends_with('%');
  if (is_percent) number.remove_suffix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (is_percent) value /= 100;
  if (error != std::errc() || end != number.data() + number.size() || !(value > 0 && value <= 1))
    return fail(ErrorCode::usage, "'" + printable(text) + "' is no part of a machine", "--share",
                "write it like 50%, above 0 and up to 100%");
  return value;
}

// "22-07" or "22:30-07:15".
Result<protocol::HoursWindow> hours_of(const std::string& text) {
  const auto wrong = [&] {
    return fail(ErrorCode::usage, "'" + printable(text) + "' is no part of a day", "--hours",
                "write it like 22-07 or 22:30-07:15");
  };
  const auto minutes = [](std::string_view part) -> std::optional<std::int64_t> {
    std::int64_t hour = 0, minute = 0;
    const std::size_t colon = part.find(':');
    const auto number = [](std::string_view digits, std::int64_t& value) {
      const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
      return error == std::errc() && end == digits.data() + digits.size();
    };
    if (!number(part.substr(0, colon), hour)) return std::nullopt;
    if (colon != std::string_view::npos && !number(part.substr(colon + 1), minute)) return std::nullopt;
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59) return std::nullopt;
    return hour * 60 + minute;
  };
  const std::size_t dash = text.find('-');
  if (dash == std::string::npos) return wrong();
  const auto from = minutes(std::string_view(text).substr(0, dash)), to = minutes(std::string_view(text).substr(dash + 1));
  if (!from || !to || *from == *to) return wrong();
  return protocol::HoursWindow{*from, *to};
}

Result<pool::WorkerOptions> worker_of(const Options& options) {
  pool::WorkerOptions worker;
  worker.folder = options.folder.empty() ? default_folder() : options.folder;
  if (!options.join.empty()) {
    SUANLI_ASSIGN_OR_RETURN(worker.token, net::JoinToken::parse(options.join));
  }
  if (!options.listen.empty()) {
    SUANLI_ASSIGN_OR_RETURN(worker.listen, net::Address::parse(options.listen));
  }
  worker.name = options.name.empty() ? host_name() : options.name;
  worker.place = options.place;
  worker.asks_urls = !options.no_urls;
  if (!options.share.empty()) {
    SUANLI_ASSIGN_OR_RETURN(worker.share, share_of(options.share));
  }
  const int cores = available_cores();
  worker.threads = options.threads > 0 ? static_cast<int>(options.threads) : std::max(1, static_cast<int>(cores * worker.share));
  worker.memory = Bytes(static_cast<std::int64_t>(static_cast<double>(memory_info().available.value()) * worker.share));
  if (!options.memory.empty()) {
    SUANLI_ASSIGN_OR_RETURN(const double bytes, parse_scaled(options.memory, "--memory"));
    worker.memory = Bytes(static_cast<std::int64_t>(bytes));
  }
  if (!options.cache.empty()) {
    SUANLI_ASSIGN_OR_RETURN(const double bytes, parse_scaled(options.cache, "--cache"));
    worker.cache = Bytes(static_cast<std::int64_t>(bytes));
  }
  if (!options.cap.empty()) {
    SUANLI_ASSIGN_OR_RETURN(const double cap, parse_scaled(options.cap, "--cap"));
    if (!(cap >= 1))
      return fail(ErrorCode::usage, "'" + printable(options.cap) + "' is no rate", "--cap", "write it like 50G, in FLOP/s");
    worker.cap = FlopsPerSecond(cap);
  }
  if (!options.hours.empty()) {
    SUANLI_ASSIGN_OR_RETURN(worker.hours, hours_of(options.hours));
  }
  if (!options.links.empty()) {
    SUANLI_ASSIGN_OR_RETURN(worker.lines, net::LinkMap::load(options.links));
    const auto& places = worker.lines->places();
    if (std::ranges::find(places, worker.place, &net::Place::name) == places.end())
      return fail(ErrorCode::usage, "'" + printable(worker.place) + "' is no place of " + options.links, "--place",
                  "name one of its places");
  }
  worker.log = [](const std::string& line) { write_stderr(line + "\n"); };
  return worker;
}

// False if stopped first.
bool wait_for_hours(const pool::WorkerOptions& worker, train::StopFlag stop) {
  const auto may_work = [&] { return !worker.hours || pool::is_within(*worker.hours, pool::minute_of_day()); };
  if (!may_work() && !train::is_stopped(stop))
    write_stderr("outside of its hours: it comes into the pool at " + pool::clock_text(worker.hours->from) + "\n");
  while (!may_work() && !train::is_stopped(stop)) real_clock().sleep_for(kLook);
  return !train::is_stopped(stop);
}

Result<int> run_worker(const Options& options, const Context&) {
  if (options.with_parent) {
    const pid_t parent = getppid();
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent || parent == 1) return 0;  // it has ended already
  }
  SUANLI_ASSIGN_OR_RETURN(pool::WorkerOptions worker, worker_of(options));
  const auto stop = stop_on_signals();
  while (wait_for_hours(worker, stop)) {
    SUANLI_ASSIGN_OR_RETURN(const auto process, pool::WorkerProcess::create(worker));
    SUANLI_RETURN_IF_ERROR(process->run(stop));
    worker.token.reset();  // the folder holds a certificate now
    if (!worker.hours) break;
  }
  return 0;
}

}  // namespace

void add_worker(Verb root, Request& request) {
  auto options = std::make_shared<Options>();
  Verb verb = root.verb(
      "worker", "Lend this machine to a pool",
      "Joins a pool and computes the stages that its coordinator gives to this machine, until it is stopped. The first time it "
      "needs a token of the pool's operator; afterwards the folder holds a certificate. It only dials out, unless it is told to "
      "listen; of two workers that exchange tensors one must listen, or a third that leads their bytes between them. A worker "
      "runs typed graphs only, never foreign code.",
      {{"worker --join TOKEN", "the first time"},
       {"worker", "again, with what the folder holds"},
       {"worker --join TOKEN --listen 0.0.0.0:7001 --share 50% --memory 8G", "half of the machine; others may dial it"},
       {"worker --hours 22-07 --cap 50G", "at night, and never faster than 50 GFLOP/s"}});
  verb.option("--join", options->join, "Token that the pool's operator has handed out", "TOKEN");
  verb.option("--listen", options->listen, "Let other workers dial this one here; port 0 takes any", "HOST:PORT");
  verb.option("--dir", options->folder, "Folder of identity and shards [default: the user's data folder]", "DIR");
  verb.option("--name", options->name, "Name for people [default: the machine's]", "NAME");
  verb.option("--place", options->place, "Where the machine stands, for people", "TEXT");
  verb.option("--share", options->share, "Part of cores and memory to lend, such as 50%", "PART");
  verb.option("--threads", options->threads, "Threads to compute with, instead of a share of the cores", 0, 4096);
  verb.option("--memory", options->memory, "The most memory to lend, such as 8G", "BYTES");
  verb.option("--cache", options->cache, "The most that shards of datasets may take on disk, such as 50G [default: 20Gi]",
              "BYTES");
  verb.flag("--no-urls", options->no_urls,
            "Ask no web server or S3 store that a job names for shards (data.sources); other workers and the coordinator only");
  verb.option("--cap", options->cap, "The most to compute in a second, in FLOP/s, such as 50G; kept in every second", "RATE");
  verb.option("--hours", options->hours,
              "Part of the day in which to be in the pool, such as 22-07 or 22:30-07:15; when it ends the worker leaves, and "
              "comes back when it begins",
              "FROM-TO");
  verb.option("--links", options->links,
              "Emulate the lines of this file to other workers and to the coordinator (docs/formats/links.md); --place names the "
              "own place",
              "FILE");
  verb.flag("--with-parent", options->with_parent, "End when the process that started this one ends");
  on_chosen(verb, request, options, run_worker);
}

}  // namespace suanli::cli
