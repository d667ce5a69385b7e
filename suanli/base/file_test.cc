#include "suanli/base/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>

#include "suanli/base/test_folder.h"

namespace suanli {
namespace {

using testing::HasSubstr;

std::set<std::string> names_in(const std::string& folder) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    names.insert(entry.path().filename().string());
  }
  return names;
}

std::string bytes_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

Status write_text(const std::string& path, std::string_view text) {
  return write_file_atomic(path, as_bytes(text));
}

// A forked child that runs `body`, says that it is ready, and waits to be killed.
class Child {
 public:
  explicit Child(const std::function<bool()>& body) {
    int ready[2];
    SUANLI_CHECK(pipe(ready) == 0);
    pid_ = fork();
    if (pid_ == 0) {
      const char answer = body() ? 'y' : 'n';
      if (write(ready[1], &answer, 1) != 1) _exit(1);
      for (;;) pause();
    }
    close(ready[1]);
    char answer = 'n';
    good_ = read(ready[0], &answer, 1) == 1 && answer == 'y';
    close(ready[0]);
  }
  ~Child() { kill_now(); }
  bool good() const { return good_; }
  pid_t pid() const { return pid_; }
  void kill_now() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

 private:
  pid_t pid_ = 0;
  bool good_ = false;
};

class File : public testing::Test {
 protected:
  TestFolder folder_;
  const std::string path_ = folder_ / "a.bin";
};

TEST_F(File, WritesAndReadsBack) {
  const std::string binary("a\0b\xff\n", 5);
  for (const std::string& text : {binary, std::string(), std::string(3'000'000, 'x')}) {
    ASSERT_TRUE(write_text(path_, text));
    EXPECT_EQ(read_file(path_).value(), text);
    EXPECT_EQ(bytes_of(MappedFile::open(path_).value()), text);
  }
  EXPECT_EQ(names_in(folder_.path()), std::set<std::string>{"a.bin"});
}

TEST_F(File, ReadsFilesThatReportNoSize) {
  EXPECT_THAT(read_file("/proc/self/status").value(), HasSubstr("Name:"));
}

TEST_F(File, MissingFilesAreNotFound) {
  const auto read = read_file(folder_ / "none");
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, ErrorCode::not_found);
  EXPECT_EQ(read.error().place, folder_ / "none");
  EXPECT_EQ(MappedFile::open(folder_ / "none").error().code, ErrorCode::not_found);
  EXPECT_EQ(AtomicFile::create(folder_ / "none/x").error().code, ErrorCode::not_found);
  EXPECT_EQ(sync_folder(folder_ / "none").error().code, ErrorCode::not_found);
}

TEST_F(File, FoldersAreNotFiles) {
  EXPECT_EQ(read_file(folder_.path()).error().code, ErrorCode::foreign);
  EXPECT_EQ(MappedFile::open(folder_.path()).error().code, ErrorCode::foreign);
  EXPECT_EQ(MappedFile::open("/dev/null").error().code, ErrorCode::foreign);
  for (const char* name : {"", ".", "..", "sub/"}) {
    EXPECT_FALSE(AtomicFile::create(folder_ / name)) << name;
  }
  EXPECT_FALSE(AtomicFile::create(""));
}

TEST_F(File, ReadLimitIsExact) {
  ASSERT_TRUE(write_text(path_, "12345"));
  EXPECT_EQ(read_file(path_, Bytes(5)).value(), "12345");
  const auto read = read_file(path_, Bytes(4));
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, ErrorCode::corrupt);
  EXPECT_THAT(read.error().message, HasSubstr("5 bytes"));
  EXPECT_THAT(read.error().message, HasSubstr("at most 4"));
  EXPECT_EQ(read_file("/dev/zero", Bytes(100'000)).error().code, ErrorCode::corrupt);
}

TEST_F(File, NothingIsSeenBeforeCommitAndNothingIsLeftWithoutIt) {
  ASSERT_TRUE(write_text(path_, "old"));
  {
    AtomicFile file = AtomicFile::create(path_).value();
    ASSERT_TRUE(file.write(as_bytes("new content")));
    EXPECT_EQ(read_file(path_).value(), "old");
    EXPECT_EQ(names_in(folder_.path()).size(), 2u);
  }
  EXPECT_EQ(names_in(folder_.path()), std::set<std::string>{"a.bin"});
  EXPECT_EQ(read_file(path_).value(), "old");
}

TEST_F(File, PiecesAndPatchesMakeOneFile) {
  AtomicFile first = AtomicFile::create(path_).value();
  ASSERT_TRUE(first.write(as_bytes("????")));
  AtomicFile file = std::move(first);
  ASSERT_TRUE(file.write(as_bytes(" body")));
  ASSERT_TRUE(file.write_at(0, as_bytes("head")));
  ASSERT_TRUE(file.write(as_bytes(".")));
  EXPECT_EQ(file.size(), 10);
  ASSERT_TRUE(file.commit());
  EXPECT_EQ(read_file(path_).value(), "head body.");
}

TEST_F(File, MoveAssignmentAbandonsTheOldFile) {
  AtomicFile file = AtomicFile::create(path_).value();
  ASSERT_TRUE(file.write(as_bytes("lost")));
  file = AtomicFile::create(folder_ / "b").value();
  EXPECT_EQ(names_in(folder_.path()).size(), 1u);
  ASSERT_TRUE(file.write(as_bytes("kept")));
  ASSERT_TRUE(file.commit());
  EXPECT_EQ(names_in(folder_.path()), std::set<std::string>{"b"});
}

TEST_F(File, TwoWritersOfOneNameDoNotMix) {
  AtomicFile one = AtomicFile::create(path_).value(), two = AtomicFile::create(path_).value();
  ASSERT_TRUE(one.write(as_bytes("one")));
  ASSERT_TRUE(two.write(as_bytes("two!")));
  ASSERT_TRUE(two.commit());
  ASSERT_TRUE(one.commit());
  EXPECT_EQ(read_file(path_).value(), "one");
}

TEST_F(File, NamesUpToTheLimitOfTheFileSystemWork) {
  const std::string name(255, 'n');
  ASSERT_TRUE(write_text(folder_ / name, "x"));
  EXPECT_EQ(names_in(folder_.path()), std::set<std::string>{name});
  const auto longer = write_text(folder_ / (name + "n"), "x");
  ASSERT_FALSE(longer);
  EXPECT_EQ(longer.error().code, ErrorCode::io);
  EXPECT_EQ(names_in(folder_.path()).size(), 1u) << "the failed rename left its temporary file";
}

TEST_F(File, RenameOntoAFolderFailsCleanly) {
  ASSERT_TRUE(make_folders(folder_ / "sub"));
  const auto status = write_text(folder_ / "sub", "x");
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().place, folder_ / "sub");
  EXPECT_EQ(names_in(folder_.path()), std::set<std::string>{"sub"});
}

// A limit of the kernel stands in for a full disk: both refuse a write in its middle.
TEST_F(File, NoSpaceIsAnErrorThatLeavesTheOldFileAndNoLeftovers) {
  ASSERT_TRUE(write_text(path_, "old"));
  const pid_t child = fork();
  if (child == 0) {
    ignore_file_size_signal();
    const rlimit limit{100'000, 100'000};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(10);
    auto file = AtomicFile::create(path_);
    if (!file) _exit(11);
    if (!file->write(as_bytes(std::string(60'000, 'x')))) _exit(12);
    const Status status = file->write(as_bytes(std::string(60'000, 'y')));
    if (status) _exit(13);
    if (status.error().code != ErrorCode::no_space || status.error().place != path_) _exit(14);
    if (status.error().next_step.find("free some space") == std::string::npos) _exit(15);
    _exit(names_in(folder_.path()).size() == 1 ? 0 : 16);  // before the destructor
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status)) << "killed by signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(read_file(path_).value(), "old");
}

TEST_F(File, LeftoversOfAKilledProcessAreRemovedButNotThoseOfALivingOne) {
  const auto begin_a_file = [&](const std::string& name) {
    return [this, name] {
      static AtomicFile file = AtomicFile::create(folder_ / name).value();
      return file.write(as_bytes("part")).has_value();
    };
  };
  Child killed(begin_a_file("killed")), living(begin_a_file("living"));
  ASSERT_TRUE(killed.good() && living.good());
  AtomicFile own = AtomicFile::create(folder_ / "own").value();
  ASSERT_TRUE(write_text(folder_ / "other", "x"));
  remove_temporaries(folder_.path());
  EXPECT_EQ(names_in(folder_.path()).size(), 4u);

  const std::string prefix = ".tmp-" + std::to_string(living.pid()) + "-";
  killed.kill_now();
  remove_temporaries(folder_.path());
  const std::set<std::string> names = names_in(folder_.path());
  EXPECT_EQ(names.size(), 3u);
  EXPECT_EQ(names.count("other"), 1u);
  EXPECT_TRUE(names.lower_bound(prefix)->starts_with(prefix));
  ASSERT_TRUE(own.commit());

  living.kill_now();
  remove_temporaries(folder_.path());
  EXPECT_EQ(names_in(folder_.path()), (std::set<std::string>{"other", "own"}));
}

// A process may get the number of a killed one, as in a container where it is always 1.
TEST_F(File, LeftoversWithOurOwnNumberAreRemovedToo) {
  std::ofstream(folder_ / (".tmp-" + std::to_string(getpid()) + "-0-x")) << "part";
  std::ofstream(folder_ / ".temporary") << "not ours";
  remove_temporaries(folder_.path());
  EXPECT_EQ(names_in(folder_.path()), std::set<std::string>{".temporary"});
  remove_temporaries(folder_ / "none");
}

TEST_F(File, MappingOutlivesTheNameAndMoves) {
  ASSERT_TRUE(write_text(path_, "mapped"));
  MappedFile first = MappedFile::open(path_).value();
  ASSERT_TRUE(write_text(path_, "replaced"));
  std::filesystem::remove(path_);
  MappedFile second = std::move(first);
  EXPECT_EQ(bytes_of(second), "mapped");
  EXPECT_TRUE(first.bytes().empty());  // NOLINT(bugprone-use-after-move): what a move leaves
}

TEST_F(File, MakeFolders) {
  ASSERT_TRUE(make_folders(folder_ / "a/b/c"));
  ASSERT_TRUE(make_folders(folder_ / "a/b/c")) << "folders that exist are fine";
  EXPECT_TRUE(std::filesystem::is_directory(folder_ / "a/b/c"));
  ASSERT_TRUE(write_text(folder_ / "file", "x"));
  for (const char* name : {"file", "file/sub"}) {
    const auto status = make_folders(folder_ / name);
    ASSERT_FALSE(status) << name;
    EXPECT_EQ(status.error().place, folder_ / name);
  }
  EXPECT_FALSE(make_folders(""));
}

TEST_F(File, LockIsHeldUntilDestroyed) {
  {
    const FolderLock lock = FolderLock::acquire(folder_.path()).value();
    const auto second = FolderLock::acquire(folder_.path());
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, ErrorCode::busy);
  }
  EXPECT_TRUE(FolderLock::acquire(folder_.path()));
}

TEST_F(File, LockNamesItsHolderAndEndsWithIt) {
  Child child([&] {
    static auto lock = FolderLock::acquire(folder_.path());
    return lock.has_value();
  });
  ASSERT_TRUE(child.good());
  const auto refused = FolderLock::acquire(folder_.path());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::busy);
  EXPECT_EQ(refused.error().place, folder_.path());
  EXPECT_EQ(refused.error().message,
            "the folder is in use by process " + std::to_string(child.pid()));
  EXPECT_THAT(refused.error().next_step, HasSubstr("try again"));
  child.kill_now();
  EXPECT_TRUE(FolderLock::acquire(folder_.path()));
}

TEST_F(File, LockMovesAndNeedsItsFolder) {
  FolderLock lock = FolderLock::acquire(folder_.path()).value();
  FolderLock moved = std::move(lock);
  EXPECT_FALSE(FolderLock::acquire(folder_.path()));
  EXPECT_EQ(FolderLock::acquire(folder_ / "none").error().code, ErrorCode::not_found);
}

TEST(AtomicFile, OwnerOnlyIsModeSixHundredFromTheFirstMomentOn) {
  TestFolder folder;
  const mode_t before = umask(0);
  {
    auto file = AtomicFile::create(folder / "secret", FileAccess::owner_only);
    ASSERT_TRUE(file);
    struct stat info;
    ASSERT_EQ(names_in(folder.path()).size(), 1U);
    ASSERT_EQ(stat((folder / *names_in(folder.path()).begin()).c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600U);
    ASSERT_TRUE(file->commit());
    ASSERT_EQ(stat((folder / "secret").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600U);
  }
  umask(before);
}

}  // namespace
}  // namespace suanli
