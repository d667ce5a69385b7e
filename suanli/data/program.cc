#include "suanli/data/program.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "suanli/base/clock.h"
#include "suanli/base/text.h"

extern char** environ;

namespace suanli::data {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { close(); }
  void close() {
    if (number_ >= 0) ::close(number_);
    number_ = -1;
  }
  int number() const { return number_; }

 private:
  int number_;
};

// Starts the program with its output going to `output`. Returns its process id.
Result<pid_t> start(const std::vector<std::string>& arguments, int output) {
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  const int error = posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return tl::unexpected(system_error(error, "starting the program", arguments[0]));
  return child;
}

// Reads to the end of the pipe, or to a limit.
Result<std::string> read_all(int pipe, const std::string& program, const ProgramLimits& limits) {
  std::string text;
  std::vector<char> buffer(64 * 1024);
  const Seconds deadline = real_clock().now() + limits.timeout;
  while (true) {
    const double left = (deadline - real_clock().now()).value();
    pollfd ready{pipe, POLLIN, 0};
    const int count = ::poll(&ready, 1, static_cast<int>(std::clamp(left * 1000, 0.0, 1e9)));
    if (count < 0 && errno == EINTR) continue;
    if (count == 0) {
      return fail(ErrorCode::io,
                  "the program did not end within " + format_duration(limits.timeout), program,
                  "run it by hand to see why");
    }
    const ssize_t got = ::read(pipe, buffer.data(), buffer.size());
    if (got == 0) return text;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return tl::unexpected(system_error(errno, "reading from the program", program));
    text.append(buffer.data(), static_cast<std::size_t>(got));
    if (static_cast<std::int64_t>(text.size()) > limits.output.value()) {
      return fail(ErrorCode::io, "the program printed more than " + format_bytes(limits.output),
                  program, "run it by hand to see why");
    }
  }
}

}  // namespace

Result<std::string> run_program(const std::vector<std::string>& arguments,
                                const ProgramLimits& limits) {
  SUANLI_CHECK(!arguments.empty());
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    return tl::unexpected(system_error(errno, "making a pipe", arguments[0]));
  Descriptor from(ends[0]), to(ends[1]);
  SUANLI_ASSIGN_OR_RETURN(const pid_t child, start(arguments, to.number()));
  to.close();
  auto text = read_all(from.number(), arguments[0], limits);
  if (!text) ::kill(child, SIGKILL);
  from.close();
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!text) return text;
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    const std::string how = WIFEXITED(status) ? "exit code " + std::to_string(WEXITSTATUS(status))
                                              : "signal " + std::to_string(WTERMSIG(status));
    return fail(ErrorCode::io, "the program failed with " + how, arguments[0],
                "run it by hand to see why");
  }
  return text;
}

}  // namespace suanli::data
