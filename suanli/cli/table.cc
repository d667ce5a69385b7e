#include "suanli/cli/table.h"

#include <algorithm>
#include <utility>

#include "suanli/base/error.h"
#include "suanli/cli/terminal.h"

namespace suanli::cli {
namespace {

std::string padded(const std::string& cell, std::size_t width, Align align) {
  const std::string space(width - columns_of(cell), ' ');
  return align == Align::left ? cell + space : space + cell;
}

std::string without_spaces_at_end(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

}  // namespace

void Table::add_row(std::vector<std::string> cells) {
  SUANLI_CHECK(cells.size() <= columns_.size());
  cells.resize(columns_.size());
  rows_.push_back(std::move(cells));
}

void Table::add_rule() { rows_.emplace_back(); }

std::string Table::to_string(std::size_t indent) const {
  constexpr std::size_t kGap = 2;
  Row titles;
  std::vector<std::size_t> widths;
  std::size_t total = 0;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    titles.push_back(columns_[i].title);
    std::size_t width = columns_of(columns_[i].title);
    for (const Row& row : rows_)
      if (!row.empty()) width = std::max(width, columns_of(row[i]));
    widths.push_back(width);
    total += width + (i > 0 ? kGap : 0);
  }

  std::string text;
  const auto print = [&](const Row& row) {
    std::string line(indent, ' ');
    for (std::size_t i = 0; i < row.size(); ++i)
      line += std::string(i > 0 ? kGap : 0, ' ') + padded(row[i], widths[i], columns_[i].align);
    text += without_spaces_at_end(std::move(line)) + "\n";
  };
  const std::string rule = std::string(indent, ' ') + std::string(total, '-') + "\n";
  const bool has_titles =
      std::ranges::any_of(titles, [](const std::string& title) { return !title.empty(); });
  if (has_titles) {
    print(titles);
    text += rule;
  }
  for (const Row& row : rows_) {
    if (row.empty())
      text += rule;
    else
      print(row);
  }
  return text;
}

}  // namespace suanli::cli
