#include "suanli/data/ingest.h"

#include <algorithm>
#include <memory>

#include "suanli/base/clock.h"
#include "suanli/base/text.h"
#include "suanli/data/dataset_writer.h"
#include "suanli/data/decompress.h"
#include "suanli/data/inputs.h"
#include "suanli/data/jsonl.h"

namespace suanli::data {
namespace {

constexpr std::size_t kReadBytes = 256 * 1024;
constexpr std::uint64_t kProgressBytes = 4 << 20;
constexpr std::size_t kMaxWarnings = 20;

Status check(const std::vector<std::string>& inputs, const IngestOptions& options) {
  if (inputs.empty())
    return fail(ErrorCode::usage, "no input was named", "data load",
                "name the files or folders to load");
  if (options.out.empty())
    return fail(ErrorCode::usage, "no output folder was named", "data load",
                "name one with --out DIR");
  if (!(options.valid_fraction >= 0 && options.valid_fraction < 1)) {
    return fail(ErrorCode::usage,
                format("the share of the valid split is %g", options.valid_fraction), "data load",
                "give a number from 0 up to, not including, 1");
  }
  if (options.shard_tokens < 1024) {
    return fail(ErrorCode::usage,
                "a shard of " + std::to_string(options.shard_tokens) + " tokens is too small",
                "data load", "give at least 1,024");
  }
  return {};
}

// One ingest: its writer, its counts, its place in the input.
class Ingest {
 public:
  Ingest(const IngestOptions& options, const Inputs& inputs, DatasetWriter& writer)
      : options_(options), inputs_(inputs), writer_(writer), parser_(options.jsonl_field) {}

  Status load(const InputFile& file, SourceEntry& source) {
    const std::uint64_t documents = writer_.documents();
    nul_bytes_ = 0;
    text_bytes_of_file_ = 0;
    SUANLI_ASSIGN_OR_RETURN(std::unique_ptr<ByteSource> bytes, open_source(file.path));
    SUANLI_RETURN_IF_ERROR(file.is_jsonl ? load_jsonl(*bytes, file) : load_plain(*bytes));
    done_ += bytes->consumed();
    source.bytes += bytes->consumed();
    source.documents += writer_.documents() - documents;
    report_.bytes_text += Bytes(static_cast<std::int64_t>(text_bytes_of_file_));
    if (nul_bytes_ > 0) warn_of_nul(file);
    return {};
  }

  void tell_end() const { tell(done_); }

  IngestReport finish() {
    report_.documents = writer_.documents();
    report_.bytes_in = Bytes(static_cast<std::int64_t>(done_));
    report_.tokens = Tokens(static_cast<std::int64_t>(writer_.tokens()));
    if (warnings_ > kMaxWarnings) {
      report_.warnings.push_back("and " + std::to_string(warnings_ - kMaxWarnings) +
                                 " more warnings like these");
    }
    return std::move(report_);
  }

  void skip(const std::string& reason, std::uint64_t count = 1) {
    report_.skipped[reason] += count;
  }

 private:
  Status load_plain(ByteSource& source) {
    while (true) {
      SUANLI_ASSIGN_OR_RETURN(const std::size_t count, source.read(buffer_));
      if (count == 0) break;
      SUANLI_RETURN_IF_ERROR(append(std::span(buffer_).first(count)));
      SUANLI_RETURN_IF_ERROR(pause(source));
    }
    return end_document();
  }

  Status load_jsonl(ByteSource& source, const InputFile& file) {
    LineReader lines(source, file.path);
    while (true) {
      SUANLI_ASSIGN_OR_RETURN(const bool more, lines.next());
      if (!more) return {};
      SUANLI_RETURN_IF_ERROR(pause(source));
      if (lines.line().find_first_not_of(" \t\r") == std::string_view::npos) {
        skip("blank line");
        continue;
      }
      auto text = parser_.text(lines.line());
      if (!text) return tl::unexpected(std::move(text).error().within(lines.place()));
      SUANLI_RETURN_IF_ERROR(append(as_bytes(*text)));
      SUANLI_RETURN_IF_ERROR(end_document());
    }
  }

  Status append(ByteSpan text) {
    nul_bytes_ += static_cast<std::uint64_t>(std::count(text.begin(), text.end(), std::byte{0}));
    text_bytes_of_file_ += text.size();
    return writer_.append(text);
  }

  Status end_document() {
    SUANLI_ASSIGN_OR_RETURN(const bool written, writer_.end_document());
    if (!written) skip("empty document");
    return {};
  }

  // Between two pieces of work: does the caller want to stop, is it time to tell how far we are?
  Status pause(const ByteSource& source) {
    if (options_.stop != nullptr && options_.stop->load(std::memory_order_relaxed)) {
      return fail(ErrorCode::interrupted, "stopped on request before the dataset was whole",
                  options_.out, "run the command again");
    }
    if (done_ + source.consumed() < told_ + kProgressBytes) return {};
    told_ = done_ + source.consumed();
    tell(told_);
    return {};
  }

  void tell(std::uint64_t done) const {
    if (!options_.progress) return;
    options_.progress({Bytes(static_cast<std::int64_t>(done)),
                       Bytes(static_cast<std::int64_t>(std::max(inputs_.bytes, done))),
                       writer_.documents(), Tokens(static_cast<std::int64_t>(writer_.tokens()))});
  }

  void warn_of_nul(const InputFile& file) {
    if (++warnings_ > kMaxWarnings) return;
    const double share =
        100.0 * static_cast<double>(nul_bytes_) / static_cast<double>(text_bytes_of_file_);
    report_.warnings.push_back(
        file.path + ": " + format_count(static_cast<std::int64_t>(nul_bytes_)) +
        format(" NUL bytes (%.2g %%), each of which reads as the end of a document; is this text?",
               share));
  }

  const IngestOptions& options_;
  const Inputs& inputs_;
  DatasetWriter& writer_;
  JsonLineParser parser_;
  IngestReport report_;
  std::vector<std::byte> buffer_ = std::vector<std::byte>(kReadBytes);
  std::uint64_t done_ = 0, told_ = 0;  // bytes of whole files read; where progress was told
  std::uint64_t nul_bytes_ = 0, text_bytes_of_file_ = 0;
  std::size_t warnings_ = 0;
};

}  // namespace

Result<IngestReport> ingest(const std::vector<std::string>& named, const IngestOptions& options) {
  const Seconds start = real_clock().now();
  SUANLI_RETURN_IF_ERROR(check(named, options));
  SUANLI_ASSIGN_OR_RETURN(const Inputs inputs, find_inputs(named, options.out));
  SUANLI_ASSIGN_OR_RETURN(
      std::unique_ptr<DatasetWriter> writer,
      DatasetWriter::create(options.out, {options.shard_tokens, options.overwrite}));
  Ingest run(options, inputs, *writer);
  for (const auto& [reason, count] : inputs.skipped) run.skip(reason, count);
  std::vector<SourceEntry> sources;
  for (const std::string& path : named) sources.push_back({path, 0, 0});
  for (const InputFile& file : inputs.files)
    SUANLI_RETURN_IF_ERROR(run.load(file, sources[file.source]));
  if (writer->documents() == 0) {
    return fail(ErrorCode::empty,
                "no text in " + std::to_string(inputs.files.size()) + " files of " +
                    std::to_string(inputs.bytes) + " bytes",
                named.front(), "name files that hold text");
  }
  run.tell_end();
  IngestReport report = run.finish();
  SUANLI_ASSIGN_OR_RETURN(const DatasetInfo info,
                          writer->finish(options.valid_fraction, std::move(sources)));
  report.train_tokens = Tokens(static_cast<std::int64_t>(info.tokens(Split::train)));
  report.valid_tokens = Tokens(static_cast<std::int64_t>(info.tokens(Split::valid)));
  report.digest = info.digest();
  report.seconds = real_clock().now() - start;
  return report;
}

}  // namespace suanli::data
