// Runs a fuzzer for some seconds without a fuzzing engine, so that every ordinary build and test
// run does it: each seed, prefixes of it (truncated files), then mutations drawn from Philox. Every
// run is a pure function of its number, so a crash comes back at the same run.
//
//   x_fuzz            smoke run; prints the number of runs
//   x_fuzz FILE...    runs these inputs only, such as the crash-x_fuzz that a failing run leaves in
//                     the current folder
//
// Environment:
//   SUANLI_FUZZ_RUNS     mutations, 3000 unless told
//   SUANLI_FUZZ_SECONDS  time bound, 20 unless told
//   SUANLI_FUZZ_CANARY   if set, a check fails on purpose after the first seed: a test sets it to
//                        prove that a crash in a fuzzer is seen as a failure
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "suanli/base/clock.h"
#include "suanli/base/error.h"
#include "suanli/base/file.h"
#include "suanli/base/philox.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
// Of the sanitizers' run-time, if there is one: their reports end the process without a signal.
extern "C" void __sanitizer_set_death_callback(void (*callback)()) __attribute__((weak));
std::vector<std::string> suanli_fuzz_seeds();

namespace suanli {
namespace {

constexpr std::size_t kLargestInput = 1 << 20;
constexpr std::size_t kShortSeed = 512;  // every prefix is tried up to here, else kPrefixes of them
constexpr std::size_t kPrefixes = 200;

// The running input (null between runs), for the crash handler, which may only read plain globals
// and make system calls.
const std::uint8_t* current_data = nullptr;
std::size_t current_size = 0;
char crash_path[256] = "crash";

void save_current_input() {
  if (current_data == nullptr) return;
  const int file = open(crash_path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (file < 0) return;
  if (write(file, current_data, current_size) == static_cast<ssize_t>(current_size)) {
    constexpr char kNote[] = "fuzz: the failing input is saved as ";
    if (write(STDERR_FILENO, kNote, sizeof kNote - 1) < 0) return;
    if (write(STDERR_FILENO, crash_path, std::strlen(crash_path)) < 0) return;
    if (write(STDERR_FILENO, "\n", 1) < 0) return;
  }
  close(file);
}

void on_crash(int signal_number) {
  save_current_input();
  std::signal(signal_number, SIG_DFL);
  std::raise(signal_number);
}

void watch_for_crashes(const char* program) {
  const char* slash = std::strrchr(program, '/');
  std::snprintf(crash_path, sizeof crash_path, "crash-%s", slash ? slash + 1 : program);
  std::signal(SIGABRT, on_crash);
  if (__sanitizer_set_death_callback) {
    __sanitizer_set_death_callback(save_current_input);
  } else {
    for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) std::signal(fault, on_crash);
  }
}

void run(std::string_view input) {
  // A block of exactly this size, so that sanitizers see a read past the end.
  const std::unique_ptr<std::uint8_t[]> exact(new std::uint8_t[input.size()]);
  std::copy(input.begin(), input.end(), exact.get());
  current_data = exact.get();
  current_size = input.size();
  LLVMFuzzerTestOneInput(exact.get(), input.size());
  current_data = nullptr;
}

// The mutation with this number: a seed, changed in one to eight places.
class Mutation {
 public:
  Mutation(const std::vector<std::string>& seeds, std::uint64_t number)
      : seeds_(seeds), random_(0, Stream::fuzz, number), input_(seeds[draw(seeds.size())]) {
    const std::size_t changes = std::size_t{1} << draw(4);
    for (std::size_t i = 0; i < changes; ++i) change();
    input_.resize(std::min(input_.size(), kLargestInput));
  }
  const std::string& input() const { return input_; }

 private:
  std::size_t draw(std::size_t bound) { return random_.below(bound, drawn_++); }

  void change() {
    if (input_.empty()) {
      input_ = seeds_[draw(seeds_.size())];
      return;
    }
    const std::size_t at = draw(input_.size());
    switch (draw(8)) {
      case 0:
        input_[at] = static_cast<char>(input_[at] ^ (1 << draw(8)));
        break;
      case 1:
        input_[at] = static_cast<char>(draw(256));
        break;
      case 2:
        input_.resize(at);
        break;
      case 3:
        input_.insert(draw(input_.size() + 1), input_.substr(at, 1 + draw(256)));
        break;
      case 4:
        input_.erase(at, 1 + draw(64));
        break;
      case 5:
        splice(at);
        break;
      default:
        overwrite_integer(at);
    }
  }

  // Our head, another seed's tail.
  void splice(std::size_t at) {
    const std::string& other = seeds_[draw(seeds_.size())];
    input_ = input_.substr(0, at) + other.substr(draw(other.size() + 1));
  }

  // Sizes and counts at which arithmetic goes wrong, in 1, 2, 4 or 8 bytes, either byte order, or
  // as decimal digits.
  void overwrite_integer(std::size_t at) {
    static constexpr std::int64_t kValues[] = {
        0,          1,         -1,        2,         7,         8,         127,          128,
        255,        256,       32767,     65535,     65536,     1 << 20,   INT32_MAX,    INT32_MIN,
        UINT32_MAX, 1LL << 32, 1LL << 40, 1LL << 61, INT64_MAX, INT64_MIN, INT64_MAX - 7};
    const std::int64_t value = kValues[draw(std::size(kValues))];
    if (draw(4) == 0) {
      const std::size_t end = std::min(input_.find_first_not_of("0123456789", at), input_.size());
      input_.replace(at, end - at, std::to_string(value));
      return;
    }
    const std::size_t width = std::size_t{1} << draw(4);
    const bool big_endian = draw(2) == 1;
    const auto bits = static_cast<std::uint64_t>(value);
    for (std::size_t i = 0; i < width && at + i < input_.size(); ++i) {
      input_[at + i] = static_cast<char>(bits >> 8 * (big_endian ? width - 1 - i : i));
    }
  }

  const std::vector<std::string>& seeds_;
  Philox random_;
  std::uint64_t drawn_ = 0;
  std::string input_;
};

double number_from_environment(const char* name, double otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtod(text, nullptr) : otherwise;
}

class Smoke {
 public:
  Smoke(const char* program, std::vector<std::string> seeds)
      : program_(program),
        seeds_(std::move(seeds)),
        end_(real_clock().now() + Seconds(number_from_environment("SUANLI_FUZZ_SECONDS", 20))) {}

  void run_all() {
    for (const std::string& seed : seeds_) {
      run(seed);
      ++runs_;
      const bool canary = std::getenv("SUANLI_FUZZ_CANARY") != nullptr;
      SUANLI_CHECK(!canary && "canary: this failure was asked for");
    }
    for (const std::string& seed : seeds_) run_prefixes(seed);
    const double mutations = number_from_environment("SUANLI_FUZZ_RUNS", 3000);
    for (std::uint64_t i = 0; static_cast<double>(i) < mutations && in_time(); ++i) {
      run(Mutation(seeds_, i).input());
      ++runs_;
    }
    std::printf("%s: %lld runs on %zu seeds%s\n", program_, runs_, seeds_.size(),
                in_time() ? "" : ", stopped by the time bound");
  }

 private:
  bool in_time() const { return real_clock().now() < end_; }

  void run_prefixes(std::string_view seed) {
    const std::size_t count = seed.size() <= kShortSeed ? seed.size() : kPrefixes;
    for (std::size_t i = 0; i < count && in_time(); ++i) {
      run(seed.substr(0, i * seed.size() / count));
      ++runs_;
    }
  }

  const char* program_;
  std::vector<std::string> seeds_;
  Seconds end_;
  long long runs_ = 0;
};

int run_files(int count, char** paths) {
  for (int i = 0; i < count; ++i) {
    const Result<std::string> input = read_file(paths[i]);
    if (!input) {
      std::fprintf(stderr, "%s\n", input.error().to_string().c_str());
      return exit_code_of(input.error().code);
    }
    run(*input);
    std::printf("%s: no failure\n", paths[i]);
  }
  return 0;
}

}  // namespace
}  // namespace suanli

int main(int argc, char** argv) {
  suanli::watch_for_crashes(argv[0]);
  if (argc > 1) return suanli::run_files(argc - 1, argv + 1);
  std::vector<std::string> seeds = suanli_fuzz_seeds();
  SUANLI_CHECK(!seeds.empty());
  suanli::Smoke(argv[0], std::move(seeds)).run_all();
  return 0;
}
