#include "suanli/plan/csv.h"

#include <set>

#include "suanli/base/text.h"

namespace suanli::plan {
namespace {

std::string at_line(const std::string& place, std::size_t line) { return place + ":" + std::to_string(line); }

// Splits text into records of raw fields.
class Reader {
 public:
  Reader(std::string_view text, const std::string& place) : text_(text), place_(place) {}

  bool at_end() const { return at_ >= text_.size(); }

  Result<CsvRecord> next() {
    CsvRecord record;
    record.line = line_;
    for (;;) {
      SUANLI_ASSIGN_OR_RETURN(std::string field, next_field());
      record.fields.push_back(std::move(field));
      if (at_end()) return record;
      const char end = text_[at_++];
      if (end == ',') continue;
      if (end == '\r') ++at_;  // next_field stops at a return only before a line feed
      ++line_;
      return record;
    }
  }

 private:
  bool ends_line(std::size_t at) const {
    return text_[at] == '\n' || (text_[at] == '\r' && at + 1 < text_.size() && text_[at + 1] == '\n');
  }

  Result<std::string> next_field() {
    if (!at_end() && text_[at_] == '"') return quoted();
    std::string field;
    for (; !at_end() && text_[at_] != ',' && !ends_line(at_); ++at_) {
      if (text_[at_] == '"')
        return fail(ErrorCode::config, "a quote inside the field '" + printable(field) + "'", at_line(place_, line_),
                    "quote the whole field and double the quotes inside");
      field += text_[at_];
    }
    return field;
  }

  Result<std::string> quoted() {
    const std::size_t first_line = line_;
    std::string field;
    for (++at_; !at_end(); ++at_) {
      if (text_[at_] == '\n') ++line_;
      if (text_[at_] != '"') {
        field += text_[at_];
      } else if (at_ + 1 < text_.size() && text_[at_ + 1] == '"') {
        field += text_[at_++];
      } else {
        ++at_;
        if (at_end() || text_[at_] == ',' || ends_line(at_)) return field;
        return fail(ErrorCode::config, "text after the closing quote of '" + printable(field) + "'", at_line(place_, line_),
                    "double the quotes inside a field");
      }
    }
    return fail(ErrorCode::config, "a quoted field does not end", at_line(place_, first_line), "close the quote");
  }

  std::string_view text_;
  const std::string& place_;
  std::size_t at_ = 0, line_ = 1;
};

bool is_blank(const CsvRecord& record) { return record.fields.size() == 1 && record.fields.front().empty(); }

Status check_header(const CsvRecord& header, const std::string& place) {
  constexpr std::size_t kMostColumns = 1000;
  if (header.fields.size() > kMostColumns)
    return fail(ErrorCode::config, format("%zu columns, more than 1000", header.fields.size()), at_line(place, header.line),
                "is this a table?");
  std::set<std::string_view> seen;
  for (std::size_t i = 0; i < header.fields.size(); ++i) {
    const std::string& name = header.fields[i];
    if (name.empty()) return fail(ErrorCode::config, format("column %zu has no name", i + 1), at_line(place, header.line));
    if (!seen.insert(name).second)
      return fail(ErrorCode::config, "column '" + printable(name) + "' stands twice", at_line(place, header.line));
  }
  return {};
}

}  // namespace

Result<CsvTable> parse_csv(std::string_view text, const std::string& place) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  Reader reader(text, place);
  CsvTable table;
  while (!reader.at_end()) {
    SUANLI_ASSIGN_OR_RETURN(CsvRecord record, reader.next());
    if (is_blank(record)) continue;
    if (table.header.empty()) {
      SUANLI_RETURN_IF_ERROR(check_header(record, place));
      table.header = std::move(record.fields);
    } else if (record.fields.size() != table.header.size()) {
      return fail(ErrorCode::config,
                  format("%zu fields where the header has %zu", record.fields.size(), table.header.size()),
                  at_line(place, record.line), "quote fields that hold commas");
    } else {
      table.records.push_back(std::move(record));
    }
  }
  if (table.header.empty()) return fail(ErrorCode::empty, "no line", place, "begin with a line of column names");
  return table;
}

}  // namespace suanli::plan
