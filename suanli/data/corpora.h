// Real texts that installed packages carry, as files that `suanli data load` reads. Nothing is
// downloaded: a corpus whose package is absent is an error that says what to install.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/sha256.h"
#include "suanli/base/units.h"

namespace suanli::data {

struct Corpus {
  std::string name;
  std::string summary;
  std::string install;          // the command that installs its package
  std::string file;             // what fetch() writes
  std::uint64_t min_documents;  // less than this means that the package is not what we know
  Bytes min_bytes;
};

// All known corpora, in alphabetical order.
std::span<const Corpus> corpora();

// Where packages are looked for; the defaults are those of Debian and npm.
struct FetchOptions {
  std::string bible_program = "bible";
  std::vector<std::string> npm_roots =
      default_npm_roots();  // node_modules folders, first found wins
  std::string doc_root = "/usr/share/doc";

  // ./node_modules, $SUANLI_NPM_ROOT, and where `npm install -g` and Debian put modules.
  static std::vector<std::string> default_npm_roots();
};

// Is the package of a known corpus there? A quick look that does not read the text.
bool is_installed(std::string_view name, const FetchOptions& options = {});

struct FetchReport {
  std::string file;  // path of the written file
  std::uint64_t documents = 0;
  Bytes bytes;
  Digest sha256;  // of the file
};

// Writes a corpus into folder `out`, atomically: one .txt for a single document, one .jsonl for
// many, in a stable order. Errors: usage (unknown name), not_found (package absent), foreign (the
// package is far smaller than known).
Result<FetchReport> fetch(std::string_view name, const std::string& out,
                          const FetchOptions& options = {});

}  // namespace suanli::data
