// Comma-separated values after RFC 4180: quotes around fields, doubled inside, line ends LF or CRLF, a header line.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"

namespace suanli::plan {

struct CsvRecord {
  std::size_t line = 0;             // where it begins, from 1
  std::vector<std::string> fields;  // as many as the header has
};

struct CsvTable {
  std::vector<std::string> header;
  std::vector<CsvRecord> records;   // empty lines are skipped
};

// `place` names the text in errors. Errors: empty (no header), config (place:line: a quote that does not end or stands inside a
// field, more or fewer fields than the header, a column twice or without a name).
Result<CsvTable> parse_csv(std::string_view text, const std::string& place);

}  // namespace suanli::plan
