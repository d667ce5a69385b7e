// Text in columns.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace suanli::cli {

enum class Align { left, right };

class Table {
 public:
  struct Column {
    std::string title;
    Align align = Align::left;
  };
  // No titles at all: no title line.
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // Missing cells are empty; too many are a bug.
  void add_row(std::vector<std::string> cells);
  // A line of dashes.
  void add_rule();
  bool is_empty() const { return rows_.empty(); }

  // Columns as wide as their widest cell, two spaces between them, `indent` before them; no
  // spaces at line ends.
  std::string to_string(std::size_t indent = 0) const;

 private:
  using Row = std::vector<std::string>;  // empty: a rule
  std::vector<Column> columns_;
  std::vector<Row> rows_;
};

}  // namespace suanli::cli
