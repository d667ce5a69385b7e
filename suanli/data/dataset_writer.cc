#include "suanli/data/dataset_writer.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "suanli/base/text.h"

namespace suanli::data {
namespace {

namespace fs = std::filesystem;

// The index of a shard being written is held in memory, 8 bytes a document.
constexpr std::uint64_t kMaxDocumentsPerShard = 1 << 22;
constexpr std::uint64_t kFewDocuments = 20;
// How far before the wanted cut a boundary is looked for.
constexpr std::uint64_t kCutSearch = 64 * 1024;

constexpr std::string_view kPartName = "part-";

bool is_shard_name(const std::string& name) {
  const bool begins =
      name.starts_with(kPartName) || name.starts_with("train-") || name.starts_with("valid-");
  return begins && name.ends_with(".shard");
}

bool is_damage(const Error& error) {
  return error.code == ErrorCode::corrupt || error.code == ErrorCode::empty;
}

}  // namespace

Result<std::unique_ptr<DatasetWriter>> DatasetWriter::create(const std::string& folder,
                                                             const DatasetWriterOptions& options) {
  SUANLI_CHECK(options.shard_tokens >= 1);
  SUANLI_RETURN_IF_ERROR(make_folders(folder));
  SUANLI_ASSIGN_OR_RETURN(FolderLock lock, FolderLock::acquire(folder));
  std::unique_ptr<DatasetWriter> writer(new DatasetWriter(folder, options, std::move(lock)));
  if (auto status = writer->prepare(); !status) {
    writer->finished_ = true;  // nothing of its own to remove
    return tl::unexpected(std::move(status).error());
  }
  return writer;
}

// Looks at what the folder holds, and removes what a killed process left there.
Status DatasetWriter::prepare() {
  std::error_code error;
  if (fs::exists(dataset_file(folder_), error)) {
    SUANLI_ASSIGN_OR_RETURN(const std::string text, read_file(dataset_file(folder_)));
    auto earlier = parse_dataset(text, dataset_file(folder_));
    if (!earlier && !is_damage(earlier.error())) return tl::unexpected(std::move(earlier).error());
    if (!options_.overwrite) {
      const std::string what =
          earlier ? "a dataset of " +
                        format_count(static_cast<std::int64_t>(earlier->tokens(Split::train))) +
                        " training tokens"
                  : "a dataset whose list is damaged: " + earlier.error().message;
      return fail(ErrorCode::usage, "the folder already holds " + what, folder_,
                  "give another folder, or --overwrite to replace it");
    }
    if (earlier) {
      for (const Split split : kSplits) {
        for (const ShardEntry& shard : earlier->of(split)) earlier_.insert(shard.file);
      }
    } else {
      // Its owner may yet restore the list, so its shards stay until the new one is there.
      for (const auto& entry : fs::directory_iterator(folder_, error)) {
        const std::string name = entry.path().filename().string();
        if (is_shard_name(name) && !name.starts_with(kPartName)) earlier_.insert(name);
      }
      if (error) return tl::unexpected(system_error(error.value(), "listing", folder_));
    }
  } else {
    for (const auto& entry : fs::directory_iterator(folder_, error)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with('.') || name.starts_with(kPartName)) continue;
      return fail(ErrorCode::foreign,
                  "the folder is not empty and holds no dataset: it has '" + printable(name) + "'",
                  folder_, "give a new or empty folder");
    }
    if (error) return tl::unexpected(system_error(error.value(), "listing", folder_));
  }
  remove_temporaries(folder_);
  remove_others(earlier_);
  return {};
}

DatasetWriter::~DatasetWriter() {
  part_.reset();
  if (!finished_) remove_others(earlier_);
}

void DatasetWriter::remove_others(const std::set<std::string>& keep) const {
  std::error_code ignored;
  std::vector<fs::path> unwanted;
  for (const auto& entry : fs::directory_iterator(folder_, ignored)) {
    const std::string name = entry.path().filename().string();
    if (is_shard_name(name) && !keep.contains(name)) unwanted.push_back(entry.path());
  }
  for (const fs::path& path : unwanted) fs::remove(path, ignored);
}

std::string DatasetWriter::part_path() {
  return folder_ + format("/part-%05d.shard", part_count_++);
}

Status DatasetWriter::open_part() {
  Part part;
  part.path = part_path();
  part.first_token = tokens_;
  part.documents_before = documents_;
  SUANLI_ASSIGN_OR_RETURN(ShardWriter writer, ShardWriter::create(part.path, kByteVocab));
  part_.emplace(std::move(writer));
  parts_.push_back(std::move(part));
  return {};
}

Status DatasetWriter::close_part() {
  Part& part = parts_.back();
  SUANLI_ASSIGN_OR_RETURN(part.info, part_->finish());
  part.documents_ended = documents_ - part.documents_before;
  part_.reset();
  return {};
}

Status DatasetWriter::append(ByteSpan text) {
  document_bytes_ += text.size();
  while (!text.empty()) {
    if (!part_) SUANLI_RETURN_IF_ERROR(open_part());
    const std::uint64_t count =
        std::min<std::uint64_t>(text.size(), options_.shard_tokens - part_->tokens());
    SUANLI_RETURN_IF_ERROR(part_->append_bytes(text.first(count)));
    tokens_ += count;
    text = text.subspan(count);
    if (part_->tokens() == options_.shard_tokens) SUANLI_RETURN_IF_ERROR(close_part());
  }
  return {};
}

Result<bool> DatasetWriter::end_document() {
  if (document_bytes_ == 0) return false;
  if (!part_) SUANLI_RETURN_IF_ERROR(open_part());
  SUANLI_RETURN_IF_ERROR(part_->append_bytes(std::span(&kDocumentEnd, 1)));
  part_->end_document();
  ++tokens_;
  ++documents_;
  document_bytes_ = 0;
  const bool full = part_->tokens() == options_.shard_tokens ||
                    part_->document_ends().size() == kMaxDocumentsPerShard;
  if (full) SUANLI_RETURN_IF_ERROR(close_part());
  return true;
}

Result<std::uint64_t> DatasetWriter::cut_position(double valid_fraction) const {
  if (valid_fraction == 0) return tokens_;
  if (documents_ >= kFewDocuments) {
    const auto valid =
        static_cast<std::uint64_t>(std::llround(static_cast<double>(documents_) * valid_fraction));
    return cut_after_document(documents_ - std::clamp<std::uint64_t>(valid, 1, documents_ - 1));
  }
  return cut_near(static_cast<std::uint64_t>(static_cast<double>(tokens_) * (1 - valid_fraction)));
}

Result<std::uint64_t> DatasetWriter::cut_after_document(std::uint64_t documents) const {
  const auto part = std::find_if(parts_.begin(), parts_.end(), [&](const Part& p) {
    return documents <= p.documents_before + p.documents_ended;
  });
  SUANLI_ASSIGN_OR_RETURN(const Shard shard, Shard::open(part->path));
  SUANLI_ASSIGN_OR_RETURN(const Shard::Range range,
                          shard.document(documents - part->documents_before - 1));
  return part->first_token + range.end;
}

// The best boundary at or before `target`: a document's end, else an empty line, else a line's end,
// else target itself. Looks no further than half of what comes after target, so that the split
// stays near its size.
Result<std::uint64_t> DatasetWriter::cut_near(std::uint64_t target) const {
  const auto part =
      std::find_if(parts_.begin(), parts_.end(), [&](const Part& p) { return target < p.end(); });
  if (part == parts_.end()) return tokens_;
  SUANLI_ASSIGN_OR_RETURN(const Shard shard, Shard::open(part->path));
  const std::uint64_t at = target - part->first_token;
  const std::uint64_t span = std::min({at, kCutSearch, (tokens_ - target) / 2});
  const ByteSpan window = shard.token_bytes().subspan(at - span, span);
  const std::string_view text(reinterpret_cast<const char*>(window.data()), window.size());
  for (const std::string_view boundary :
       {std::string_view("\0", 1), std::string_view("\n\n"), std::string_view("\n")}) {
    const std::size_t found = text.rfind(boundary);
    if (found != std::string_view::npos) return target - span + found + boundary.size();
  }
  return target;
}

Result<DatasetWriter::Part> DatasetWriter::copy_range(const Part& part, std::uint64_t begin,
                                                      std::uint64_t end) {
  Part copy;
  copy.path = part_path();
  SUANLI_ASSIGN_OR_RETURN(const Shard shard, Shard::open(part.path));
  SUANLI_ASSIGN_OR_RETURN(ShardWriter writer, ShardWriter::create(copy.path, kByteVocab));
  for (std::uint64_t i = 0; i < part.info.documents; ++i) {
    SUANLI_ASSIGN_OR_RETURN(const Shard::Range range, shard.document(i));
    const std::uint64_t from = std::max(range.begin, begin), to = std::min(range.end, end);
    if (from >= to) continue;
    SUANLI_RETURN_IF_ERROR(writer.append_bytes(shard.token_bytes().subspan(from, to - from)));
    writer.end_document();
  }
  SUANLI_ASSIGN_OR_RETURN(copy.info, writer.finish());
  return copy;
}

Status DatasetWriter::split_part(const Part& part, std::uint64_t cut, std::vector<Part>& train,
                                 std::vector<Part>& valid) {
  if (part.end() <= cut) {
    train.push_back(part);
  } else if (part.first_token >= cut) {
    valid.push_back(part);
  } else {
    const std::uint64_t at = cut - part.first_token;
    SUANLI_ASSIGN_OR_RETURN(Part before, copy_range(part, 0, at));
    SUANLI_ASSIGN_OR_RETURN(Part after, copy_range(part, at, part.info.tokens));
    train.push_back(std::move(before));
    valid.push_back(std::move(after));
  }
  return {};
}

// The name holds the digest, so that the shards of a dataset being replaced stay as they are until
// the new list is.
Status DatasetWriter::name_parts(const std::vector<Part>& parts, Split split, DatasetInfo& info) {
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const ShardInfo& shard = parts[i].info;
    const std::string name = format("%s-%05zu-%s.shard", name_of(split).data(), i,
                                    shard.digest.hex().substr(0, 8).c_str());
    std::error_code error;
    fs::rename(parts[i].path, folder_ + "/" + name, error);
    if (error)
      return tl::unexpected(system_error(error.value(), "renaming a shard", folder_ + "/" + name));
    info.of(split).push_back({name, shard.digest, shard.tokens, shard.documents});
  }
  return {};
}

Result<DatasetInfo> DatasetWriter::finish(double valid_fraction, std::vector<SourceEntry> sources) {
  SUANLI_CHECK(documents_ >= 1 && document_bytes_ == 0 && valid_fraction >= 0 &&
               valid_fraction < 1);
  if (part_) SUANLI_RETURN_IF_ERROR(close_part());
  SUANLI_ASSIGN_OR_RETURN(const std::uint64_t cut, cut_position(valid_fraction));
  std::vector<Part> train, valid;
  for (const Part& part : parts_) SUANLI_RETURN_IF_ERROR(split_part(part, cut, train, valid));

  DatasetInfo info;
  info.sources = std::move(sources);
  SUANLI_RETURN_IF_ERROR(name_parts(train, Split::train, info));
  SUANLI_RETURN_IF_ERROR(name_parts(valid, Split::valid, info));
  SUANLI_RETURN_IF_ERROR(sync_folder(folder_));
  SUANLI_RETURN_IF_ERROR(write_file_atomic(dataset_file(folder_), as_bytes(print_dataset(info))));
  finished_ = true;
  std::set<std::string> listed;
  for (const Split split : kSplits) {
    for (const ShardEntry& shard : info.of(split)) listed.insert(shard.file);
  }
  remove_others(listed);
  return info;
}

}  // namespace suanli::data
