// suanli data list | fetch | load | info | verify: from texts to datasets.
#include <vector>

#include "suanli/base/text.h"
#include "suanli/cli/output.h"
#include "suanli/cli/progress.h"
#include "suanli/cli/signals.h"
#include "suanli/cli/table.h"
#include "suanli/cli/verb.h"
#include "suanli/data/corpora.h"
#include "suanli/data/dataset.h"
#include "suanli/data/ingest.h"

namespace suanli::cli {
namespace {

std::string count_text(std::uint64_t count) {
  return format_count(static_cast<std::int64_t>(count));
}
Bytes bytes_of(std::uint64_t count) { return Bytes(static_cast<std::int64_t>(count)); }

struct ListOptions {
  bool json = false;
};

Result<int> run_list(const ListOptions& options, const Context&) {
  Json list = Json::array();
  Table table({{"name", Align::left}, {"what it is", Align::left}, {"", Align::left}});
  for (const data::Corpus& corpus : data::corpora()) {
    const bool installed = data::is_installed(corpus.name);
    list.push_back({{"name", corpus.name},
                    {"summary", corpus.summary},
                    {"installed", installed},
                    {"install", corpus.install}});
    table.add_row(
        {corpus.name, corpus.summary, installed ? "installed" : "needs `" + corpus.install + "`"});
  }
  if (options.json)
    emit("data list", {{"corpora", list}});
  else
    write_stdout(table.to_string());
  return 0;
}

struct FetchOptions {
  bool json = false;
  std::string name, out = "datasets/sources";
};

Result<int> run_fetch(const FetchOptions& options, const Context& context) {
  SUANLI_ASSIGN_OR_RETURN(const data::FetchReport report, data::fetch(options.name, options.out));
  if (options.json) {
    emit("data fetch", {{"file", report.file},
                        {"documents", report.documents},
                        {"bytes", report.bytes.value()},
                        {"sha256", report.sha256.hex()}});
    return 0;
  }
  write_stdout(report.file + "\n");
  write_stderr(count_text(report.documents) + " documents, " + format_bytes(report.bytes) +
               ", SHA-256 " + report.sha256.hex() + "\nnext: " + context.program + " data load " +
               report.file + " --out datasets/" + options.name + "\n");
  return 0;
}

struct LoadOptions {
  bool json = false;
  std::vector<std::string> files;
  data::IngestOptions ingest;
};

std::string load_line(const data::IngestProgress& progress, Seconds passed) {
  const double share = progress.total.value() > 0 ? progress.done / progress.total : 1;
  std::string line =
      format("%3.0f %%  %s of %s  %s documents", 100 * share, format_bytes(progress.done).c_str(),
             format_bytes(progress.total).c_str(), count_text(progress.documents).c_str());
  if (passed.value() > 0 && share > 0) {
    line += format("  %.0f MB/s", (progress.done / passed).value() / 1e6);
    line += "  ETA " + format_duration(passed * ((1 - share) / share));
  }
  return line;
}

void tell_loaded(const data::IngestReport& report, const LoadOptions& options,
                 const Context& context) {
  Table table({{"", Align::left}, {"", Align::left}});
  table.add_row({"dataset", options.ingest.out});
  table.add_row({"documents", count_text(report.documents)});
  table.add_row({"tokens", format_count(report.tokens.value()) +
                               " (bytes): " + format_count(report.train_tokens.value()) +
                               " train, " + format_count(report.valid_tokens.value()) + " valid"});
  const double seconds = report.seconds.value();
  table.add_row({"read", format_bytes(report.bytes_in) + " in " + format_duration(report.seconds) +
                             (seconds > 0 ? format(" (%.0f MB/s)",
                                                   static_cast<double>(report.bytes_in.value()) /
                                                       seconds / 1e6)
                                          : "")});
  for (const auto& [reason, count] : report.skipped)
    table.add_row({"skipped", count_text(count) + " " + reason});
  table.add_row({"digest", report.digest.hex()});
  write_stdout(table.to_string());
  for (const std::string& warning : report.warnings) write_stderr("warning: " + warning + "\n");
  write_stderr("next: name the dataset in a job file (`path` of [data]), then " + context.program +
               " train JOB\n");
}

Result<int> run_load(const LoadOptions& options, const Context& context) {
  data::IngestOptions ingest = options.ingest;
  ingest.stop = stop_on_signals();
  Progress progress(context.err, write_stderr);
  const Seconds start = real_clock().now();
  ingest.progress = [&](const data::IngestProgress& now) {
    progress.show([&] { return load_line(now, real_clock().now() - start); });
  };
  SUANLI_ASSIGN_OR_RETURN(const data::IngestReport report, data::ingest(options.files, ingest));
  progress.finish();
  if (!options.json) {
    tell_loaded(report, options, context);
    return 0;
  }
  emit("data load", {{"out", options.ingest.out},
                     {"documents", report.documents},
                     {"bytes_in", report.bytes_in.value()},
                     {"bytes_text", report.bytes_text.value()},
                     {"tokens", report.tokens.value()},
                     {"train_tokens", report.train_tokens.value()},
                     {"valid_tokens", report.valid_tokens.value()},
                     {"skipped", report.skipped},
                     {"warnings", report.warnings},
                     {"seconds", report.seconds.value()},
                     {"digest", report.digest.hex()}});
  return 0;
}

struct FolderOptions {
  bool json = false;
  std::string folder;
};

Result<int> run_info(const FolderOptions& options, const Context&) {
  SUANLI_ASSIGN_OR_RETURN(const data::Dataset dataset, data::Dataset::open(options.folder));
  const data::DatasetInfo& info = dataset.info();
  Table splits({{"split", Align::left},
                {"tokens", Align::right},
                {"documents", Align::right},
                {"shards", Align::right}});
  Json object = {{"folder", options.folder},
                 {"tokenizer", info.tokenizer},
                 {"vocab", info.vocab},
                 {"digest", dataset.digest().hex()}};
  for (const data::Split split : data::kSplits) {
    const std::uint64_t tokens = info.tokens(split), documents = info.documents(split);
    const std::size_t shards = info.of(split).size();
    object[name_of(split)] = {{"tokens", tokens}, {"documents", documents}, {"shards", shards}};
    splits.add_row({std::string(name_of(split)), count_text(tokens), count_text(documents),
                    count_text(shards)});
  }
  Json sources = Json::array();
  std::string text = "tokenizer  " + printable(info.tokenizer) + ", vocabulary of " +
                     count_text(info.vocab) + "\ndigest     " + dataset.digest().hex() + "\n\n" +
                     splits.to_string();
  for (const data::SourceEntry& source : info.sources) {
    sources.push_back(
        {{"path", source.path}, {"bytes", source.bytes}, {"documents", source.documents}});
    text += "from " + printable(source.path, 200) + ": " + format_bytes(bytes_of(source.bytes)) +
            ", " + count_text(source.documents) + " documents\n";
  }
  object["sources"] = sources;
  if (options.json)
    emit("data info", object);
  else
    write_stdout(text);
  return 0;
}

Result<int> run_verify(const FolderOptions& options, const Context&) {
  SUANLI_ASSIGN_OR_RETURN(const data::Dataset dataset, data::Dataset::open(options.folder));
  SUANLI_RETURN_IF_ERROR(dataset.verify());
  std::uint64_t tokens = 0;
  for (const data::Split split : data::kSplits) tokens += dataset.info().tokens(split);
  if (options.json)
    emit("data verify",
         {{"folder", options.folder}, {"digest", dataset.digest().hex()}, {"tokens", tokens}});
  else
    write_stdout("every byte of " + count_text(tokens) + " tokens is as its digest says\n");
  return 0;
}

void add_list(Verb data, Request& request) {
  auto options = std::make_shared<ListOptions>();
  Verb verb = data.verb("list", "Texts that installed packages carry",
                        "Lists the corpora that `suanli data fetch` knows, and what to install "
                        "where a package is absent. Nothing is downloaded.",
                        {{"data list", "names, and whether they are installed"},
                         {"data list --json", "the same for programs"}});
  verb.json_flag(options->json);
  on_chosen(verb, request, options, run_list);
}

void add_fetch(Verb data, Request& request) {
  auto options = std::make_shared<FetchOptions>();
  Verb verb = data.verb(
      "fetch", "Copy a known text out of an installed package",
      "Writes a corpus of `suanli data list` as one file, .txt for one document or .jsonl "
      "for many, and prints the file's path. Nothing is downloaded.",
      {{"data fetch bible-kjv", "writes datasets/sources/bible-kjv.txt"},
       {"data fetch linux-doc --out /tmp", "writes /tmp/linux-doc.jsonl"}});
  verb.argument("NAME", options->name, "Name of the corpus");
  verb.option("--out", options->out, "Folder to write into", "DIR");
  verb.json_flag(options->json);
  on_chosen(verb, request, options, run_fetch);
}

void add_load(Verb data, Request& request) {
  auto options = std::make_shared<LoadOptions>();
  data::IngestOptions& ingest = options->ingest;
  Verb verb = data.verb(
      "load", "Make a dataset from texts",
      "Reads plain text (one document a file) and JSON Lines (one document a line), either "
      "compressed with gzip or zstd; folders are walked. Tokens are bytes. Writes shards and a "
      "list of them with digests; until that is complete the folder holds no dataset, or still "
      "the earlier one.",
      {{"data load bible.txt --out datasets/bible", "one text, its last 5 % for validation"},
       {"data load logs/ more.jsonl.zst --out d --field body", "a folder and a JSONL file"},
       {"data load new.txt --out datasets/bible --overwrite", "replace an earlier dataset"}});
  verb.arguments("FILES", options->files, "Files and folders");
  verb.option("--out", ingest.out, "Folder of the dataset", "DIR", /*required=*/true);
  verb.option("--valid", ingest.valid_fraction, "Fraction for validation, from the end");
  verb.option("--field", ingest.jsonl_field, "Field of a JSON line that holds the text");
  verb.option("--shard-tokens", ingest.shard_tokens, "Tokens of a full shard");
  verb.flag("--overwrite", ingest.overwrite, "Replace a dataset in the folder");
  verb.json_flag(options->json);
  on_chosen(verb, request, options, run_load);
}

void add_folder_verb(Verb verb, Request& request,
                     Result<int> (*run)(const FolderOptions&, const Context&)) {
  auto options = std::make_shared<FolderOptions>();
  verb.argument("DIR", options->folder, "Folder of the dataset");
  verb.json_flag(options->json);
  on_chosen(verb, request, options, run);
}

}  // namespace

void add_data(Verb root, Request& request) {
  Verb data = root.verb(
      "data", "Texts and datasets: list, fetch, load, info, verify",
      "From texts to datasets that a job can train on.",
      {{"data fetch bible-kjv", "a real text from an installed package"},
       {"data load datasets/sources/bible-kjv.txt --out datasets/bible-kjv", "into a dataset"}});
  data.needs_verb();
  add_list(data, request);
  add_fetch(data, request);
  add_load(data, request);
  add_folder_verb(data.verb("info", "What a dataset holds",
                            "Shows tokenizer, size, shards, sources and the digest that names the "
                            "content.",
                            {{"data info datasets/bible-kjv", "a table"},
                             {"data info datasets/bible-kjv --json", "the same for programs"}}),
                  request, run_info);
  add_folder_verb(data.verb("verify", "Check every byte of a dataset against its digests",
                            "Reads all shards and compares their content with the digests in the "
                            "dataset's list. A difference is an error that names the shard.",
                            {{"data verify datasets/bible-kjv", "says so if all is well"},
                             {"data verify datasets/bible-kjv --json", "the same for programs"}}),
                  request, run_verify);
}

}  // namespace suanli::cli
