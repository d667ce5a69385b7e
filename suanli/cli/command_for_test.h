// For tests: the built `suanli` command, run as a person would, with its output in files.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "suanli/base/test_folder.h"

namespace suanli::cli {

using Words = std::vector<std::string>;

inline std::string content_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

inline void put(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

struct Ended {
  int code = -1;  // exit code; 128 + signal if it was killed
  std::string out, err;

  // The lines of `out`, each a JSON value; discarded ones fail the test.
  std::vector<nlohmann::json> lines() const {
    std::vector<nlohmann::json> values;
    std::istringstream in(out);
    for (std::string line; std::getline(in, line);) {
      values.push_back(nlohmann::json::parse(line, nullptr, false));
      EXPECT_FALSE(values.back().is_discarded()) << line;
    }
    return values;
  }
  nlohmann::json json() const {
    const auto values = lines();
    EXPECT_EQ(values.size(), 1u) << out << err;
    return values.empty() ? nlohmann::json() : values.front();
  }
};

// A running command.
class Running {
 public:
  Running(const Words& words, const std::string& folder,
          const std::map<std::string, std::string>& environment)
      : out_(folder + "/stdout"), err_(folder + "/stderr") {
    // Nobody may take the output of an earlier command for this one's.
    put(out_, "");
    put(err_, "");
    child_ = fork();
    if (child_ == 0) run(words, folder, environment);
  }

  // Waits until the output so far satisfies `done`, or the command has ended.
  void wait_for(const std::function<bool(const std::string& out)>& done) {
    while (!has_ended(WNOHANG) && !done(content_of(out_)))
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  void send(int signal_number) {
    if (!ended_) kill(child_, signal_number);
  }
  Ended end() {
    has_ended(0);
    const int code = WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_);
    return {code, content_of(out_), content_of(err_)};
  }

 private:
  bool has_ended(int how) {
    if (!ended_ && waitpid(child_, &status_, how) == child_) ended_ = true;
    return ended_;
  }
  [[noreturn]] void run(const Words& words, const std::string& folder,
                        const std::map<std::string, std::string>& environment) {
    const auto redirect = [](const std::string& path, int descriptor) {
      const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
      if (file < 0 || dup2(file, descriptor) < 0) _exit(127);
    };
    redirect(out_, STDOUT_FILENO);
    redirect(err_, STDERR_FILENO);
    for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
    if (chdir(folder.c_str()) != 0) _exit(127);
    std::vector<char*> arguments;
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    execv(arguments[0], arguments.data());
    _exit(127);
  }

  std::string out_, err_;
  pid_t child_ = -1;
  int status_ = 0;
  bool ended_ = false;
};

// A test of the command in a folder of its own, which is its current folder.
class CommandTest : public ::testing::Test {
 protected:
  Running start(Words words) {
    words.insert(words.begin(), SUANLI_COMMAND);
    return Running(words, folder_.path(), environment_);
  }
  Ended run(const Words& words) { return start(words).end(); }

  // A text that a small model learns, as dataset "data".
  void make_dataset() {
    std::string text;
    for (int i = 0; i < 4000; ++i)
      text += "the quick brown fox " + std::to_string(i % 7) + " jumps over the lazy dog.\n";
    put(folder_ / "text.txt", text);
    const Ended loaded = run({"data", "load", "text.txt", "--out", "data", "--valid", "0.1"});
    ASSERT_EQ(loaded.code, 0) << loaded.err;
  }
  // A job of a tiny model on it, in run folder "run".
  void put_job(int steps) {
    put(folder_ / "job.toml",
        "[model]\nlayers = 2\nheads = 2\nwidth = 32\ncontext = 32\n"
        "[data]\npath = \"data\"\n"
        "[train]\nsteps = " +
            std::to_string(steps) +
            "\nbatch = 4\nwarmup_steps = 2\nlr = 1e-2\n"
            "[eval]\nevery = 10\nbatches = 1\n[checkpoint]\nevery = 50\n"
            "[sample]\ntokens = 8\n[run]\ndir = \"run\"\n");
  }

  TestFolder folder_;
  std::map<std::string, std::string> environment_ = {{"LC_ALL", "C.UTF-8"}, {"COLUMNS", "80"}};
};

}  // namespace suanli::cli
