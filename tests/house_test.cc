// The rules of the house that a compiler does not see: who may include whom, and how long a file may grow.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

// The order of the rooms (docs/ARCHITECTURE.md): a room includes only itself and rooms before it.
const std::vector<std::string> kRooms = {"base",       "graph", "engine", "meter", "model", "data",
                                         "checkpoint", "route", "plan",   "train", "protocol", "sim",
                                         "net",        "pool",  "proof",  "market", "web",  "cli"};

const fs::path kSource = fs::path(SUANLI_SOURCE_DIR) / "suanli";

int rank_of(const std::string& room) {
  const auto found = std::find(kRooms.begin(), kRooms.end(), room);
  return found == kRooms.end() ? -1 : static_cast<int>(found - kRooms.begin());
}

std::vector<fs::path> sources() {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(kSource))
    if (entry.path().extension() == ".h" || entry.path().extension() == ".cc")
      files.push_back(entry.path());
  return files;
}

std::string room_of(const fs::path& file) { return fs::relative(file, kSource).begin()->string(); }

TEST(House, RoomsIncludeOnlyRoomsBeforeThem) {
  const std::regex include("^#include \"suanli/([a-z]+)/");
  for (const fs::path& file : sources()) {
    const int own = rank_of(room_of(file));
    ASSERT_GE(own, 0) << file << " lies in a room that the list does not name";
    std::ifstream in(file);
    std::string line;
    for (int number = 1; std::getline(in, line); ++number) {
      std::smatch match;
      if (!std::regex_search(line, match, include)) continue;
      const int other = rank_of(match[1]);
      EXPECT_GE(other, 0) << file << ":" << number << " includes an unknown room";
      EXPECT_LE(other, own) << file << ":" << number << " includes the later room " << match[1];
    }
  }
}

// The build names each dependency; what it names must be what is included (tests may reach a little further back).
TEST(House, TheBuildNamesEveryRoomThatIsIncluded) {
  const std::regex include("^#include \"suanli/([a-z]+)/"), depends("DEPENDS ([a-z ]+)");
  std::map<std::string, std::string> named;
  for (const auto& entry : fs::directory_iterator(kSource)) {
    std::ifstream in(entry.path() / "CMakeLists.txt");
    const std::string text((std::istreambuf_iterator<char>(in)), {});
    std::smatch match;
    if (std::regex_search(text, match, depends)) named[entry.path().filename()] = match[1].str() + " ";
  }
  for (const fs::path& file : sources()) {
    std::ifstream in(file);
    std::string line;
    const std::string room = room_of(file);
    while (std::getline(in, line)) {
      std::smatch match;
      if (!std::regex_search(line, match, include) || match[1] == room) continue;
      EXPECT_NE((" " + named[room]).find(" " + match[1].str() + " "), std::string::npos)
          << file << " includes " << match[1] << ", which " << room << "/CMakeLists.txt does not name";
    }
  }
}

TEST(House, FilesStayReadable) {
  for (const fs::path& file : sources()) {
    std::ifstream in(file);
    std::string line;
    int lines = 0;
    while (std::getline(in, line)) {
      ++lines;
      EXPECT_LE(line.size(), 130U) << file << ":" << lines;
      EXPECT_EQ(line.find('\t'), std::string::npos) << file << ":" << lines << " holds a tab";
    }
    EXPECT_LE(lines, 600) << file;
  }
}

TEST(House, EveryHeaderIsIncludedOnce) {
  for (const fs::path& file : sources()) {
    if (file.extension() != ".h" || file.string().ends_with("-inl.h")) continue;
    std::ifstream in(file);
    const std::string text((std::istreambuf_iterator<char>(in)), {});
    EXPECT_NE(text.find("#pragma once"), std::string::npos) << file;
  }
}

}  // namespace
