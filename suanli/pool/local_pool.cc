#include "suanli/pool/local_pool.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <thread>

#include "suanli/base/system.h"
#include "suanli/base/text.h"
#include "suanli/net/identity.h"
#include "suanli/net/link_map.h"

extern char** environ;

namespace suanli::pool {
namespace {

constexpr int kMostWorkers = 64;
constexpr Seconds kLook{0.05}, kMeetWithin{60};

// A folder that goes with the object.
class TemporaryFolder {
 public:
  static Result<TemporaryFolder> create() {
    std::string path = (std::filesystem::temp_directory_path() / "suanli-pool-XXXXXX").string();
    if (mkdtemp(path.data()) == nullptr) return tl::unexpected(system_error(errno, "cannot make a temporary folder", path));
    return TemporaryFolder(std::move(path));
  }
  TemporaryFolder(TemporaryFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  TemporaryFolder& operator=(TemporaryFolder&&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  explicit TemporaryFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// A process that ends with the object: asked first, then killed.
class WorkerChild {
 public:
  static Result<WorkerChild> start(const std::vector<std::string>& command, const std::string& log) {
    std::vector<char*> arguments;
    for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
    // A group of its own: Ctrl-C is for the coordinator, which ends the workers when the state is safe.
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    pid_t process = 0;
    const int failed = posix_spawnp(&process, arguments[0], &files, &attributes, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    if (failed != 0) return tl::unexpected(system_error(failed, "cannot start a worker", command.front()));
    return WorkerChild(process, log);
  }
  WorkerChild(WorkerChild&& other) noexcept : process_(std::exchange(other.process_, 0)), log_(std::move(other.log_)) {}
  WorkerChild& operator=(WorkerChild&&) = delete;
  ~WorkerChild() {
    if (process_ == 0) return;
    kill(process_, SIGTERM);
    for (int i = 0; i < 100; ++i) {
      if (waitpid(process_, nullptr, WNOHANG) != 0) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
  }

  void ask_to_end() const {
    if (process_ != 0) kill(process_, SIGTERM);
  }
  // Has it ended by itself?
  bool has_ended() {
    if (process_ != 0 && waitpid(process_, nullptr, WNOHANG) == process_) process_ = 0;
    return process_ == 0;
  }
  // The end of its log, in one line.
  std::string last_words() const {
    const auto text = read_file(log_, Bytes(1 << 26));
    if (!text || text->empty()) return "it said nothing";
    const std::size_t end = text->find_last_not_of('\n');
    const std::size_t begin = text->rfind('\n', end) + 1;  // npos + 1 is 0
    return printable(text->substr(begin, end + 1 - begin), 300);
  }

 private:
  WorkerChild(pid_t process, std::string log) : process_(process), log_(std::move(log)) {}
  pid_t process_;
  std::string log_;
};

// Are all workers there, and is every line between them measured, both ways?
bool have_met(PoolServer& server, int workers) {
  bool met = false;
  server.with([&](const protocol::Coordinator& coordinator, protocol::Moment) {
    met = coordinator.status().workers == workers && static_cast<int>(coordinator.lines().size()) >= workers * (workers - 1);
  });
  return met;
}

// Makes the workers' folders with their keys, so that it is known before they come who lies where: the lines from the
// coordinator to each.
using LinesTo = std::map<net::PeerId, net::LineOptions>;
Result<LinesTo> lines_to_workers(const net::LinkMap& map, const std::string& folder, int workers) {
  LinesTo lines;
  for (int i = 0; i < workers; ++i) {
    const std::string own = folder + "/worker-" + std::to_string(i + 1);
    SUANLI_RETURN_IF_ERROR(make_folders(own));
    SUANLI_ASSIGN_OR_RETURN(const net::PrivateKey key, net::PrivateKey::load_or_create(own + "/key.pem"));
    lines[key.id()] = map.line(map.place_of_coordinator(), map.place_of_worker(static_cast<std::size_t>(i)));
  }
  return lines;
}

Status check(const LocalPoolOptions& pool) {
  if (pool.workers >= 1 && pool.workers <= kMostWorkers) return {};
  return fail(ErrorCode::config,
              std::to_string(pool.workers) + " workers cannot be had; 1 to " + std::to_string(kMostWorkers) + " can",
              "--on local:" + std::to_string(pool.workers), "such as --on local:4");
}

}  // namespace

Result<train::TrainReport> train_on_local_pool(const train::JobConfig& job, const LocalPoolOptions& pool,
                                               const train::TrainOptions& options) {
  SUANLI_RETURN_IF_ERROR(check(pool));
  std::optional<net::LinkMap> lines;
  if (!pool.lines.empty()) {
    SUANLI_ASSIGN_OR_RETURN(lines, net::LinkMap::load(pool.lines));
  }
  SUANLI_ASSIGN_OR_RETURN(std::unique_ptr<RunRecorder> made, RunRecorder::create(job, options));
  const std::shared_ptr<RunRecorder> recorder = std::move(made);
  SUANLI_ASSIGN_OR_RETURN(const TemporaryFolder folder, TemporaryFolder::create());
  SUANLI_RETURN_IF_ERROR(create_pool(folder.path() + "/pool", "local"));
  ServerOptions how;
  how.folder = folder.path() + "/pool";
  how.listen.host = "127.0.0.1";
  how.on_event = pool.on_event;
  if (lines) {
    SUANLI_ASSIGN_OR_RETURN(auto to_workers, lines_to_workers(*lines, folder.path(), pool.workers));
    how.line = [to_workers = std::move(to_workers)](const net::PeerId& peer) {
      const auto found = to_workers.find(peer);
      return found == to_workers.end() ? std::nullopt : std::optional(found->second);
    };
  }
  SUANLI_ASSIGN_OR_RETURN(const auto server, PoolServer::create(std::move(how)));
  SUANLI_ASSIGN_OR_RETURN(const net::JoinToken token, server->make_token({.address = server->address(), .uses = pool.workers}));

  const std::string logs = recorder->job().run.dir + "/pool";
  SUANLI_RETURN_IF_ERROR(make_folders(logs));
  const int threads = pool.threads > 0 ? pool.threads : std::max(1, available_cores() / pool.workers);
  Bytes all = memory_info().available;
  if (const Bytes limit(static_cast<std::int64_t>(recorder->job().run.memory_limit)); limit > Bytes(0))
    all = std::min(all, limit);
  const Bytes memory = Bytes(all.value() / pool.workers);
  std::vector<WorkerChild> children;
  for (int i = 0; i < pool.workers; ++i) {
    const std::string number = std::to_string(i + 1);
    std::vector<std::string> command = {pool.program,
                                        "worker",
                                        "--join",
                                        token.to_string(),
                                        "--dir",
                                        folder.path() + "/worker-" + number,
                                        "--name",
                                        "worker-" + number,
                                        "--listen",
                                        "127.0.0.1:0",
                                        "--with-parent",
                                        "--threads",
                                        std::to_string(threads),
                                        "--memory",
                                        std::to_string(memory.value())};
    if (lines) {
      const std::string& place = lines->places()[lines->place_of_worker(static_cast<std::size_t>(i))].name;
      command.insert(command.end(), {"--links", pool.lines, "--place", place});
    }
    SUANLI_ASSIGN_OR_RETURN(WorkerChild child, WorkerChild::start(command, logs + "/worker-" + number + ".log"));
    children.push_back(std::move(child));
  }

  std::optional<Error> failure;
  const auto look_after = [&] {
    real_clock().sleep_for(kLook);
    for (std::size_t i = 0; i < children.size() && !failure; ++i)
      if (children[i].has_ended())
        failure = Error{
            ErrorCode::unreachable, "worker-" + std::to_string(i + 1) + " ended by itself: " + children[i].last_words(),
            logs + "/worker-" + std::to_string(i + 1) + ".log", "look at its log; --resume goes on from the last checkpoint"};
  };
  // The job is placed by what the workers know of one another.
  const Seconds until = real_clock().now() + kMeetWithin;
  while (!failure && !train::is_stopped(options.stop) && real_clock().now() < until && !have_met(*server, pool.workers))
    look_after();
  if (failure) return recorder->finish(train::Outcome::interrupted, failure);
  const Result<protocol::JobId> submitted = server->submit(recorder, pool.workers);
  if (!submitted) return recorder->finish(train::Outcome::interrupted, submitted.error());
  const protocol::JobId& id = *submitted;
  bool was_stopped = false;
  std::optional<protocol::JobView> view;
  while (true) {
    view = server->job(id);
    if (!view || protocol::is_over(view->state)) break;
    const bool is_lost = failure && view->state == protocol::JobState::queued;
    if ((train::is_stopped(options.stop) || is_lost) && !std::exchange(was_stopped, true)) (void)server->cancel(id);
    look_after();
  }
  for (const WorkerChild& child : children) child.ask_to_end();
  if (view && view->state == protocol::JobState::finished) return recorder->finish(train::Outcome::finished, std::nullopt);
  if (!failure && view && view->error) failure = view->error;
  return recorder->finish(train::Outcome::interrupted, failure);
}

}  // namespace suanli::pool
