#include "graph/text_table.h"

#include <algorithm>
#include <sstream>

namespace grouphead::graph {
namespace {

// The lines of a cell, each of `width` characters.
std::vector<std::string> lines_of(const std::string& text, const Column& column) {
  const auto width = static_cast<std::size_t>(column.width);
  std::vector<std::string> lines;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const bool fits = !lines.empty() && lines.back().size() + 1 + word.size() <= width;
    if (fits) {
      lines.back() += " " + word;
    } else {
      lines.push_back(word);
    }
  }
  if (lines.empty()) lines.emplace_back();
  for (std::string& line : lines) {
    const bool is_cut = line.size() > width;
    if (is_cut) line.resize(width - 1);
    const std::string space(width - line.size() - (is_cut ? 1 : 0), ' ');
    if (is_cut) line += "…";
    line = column.is_right_aligned ? space + line : line + space;
  }
  return lines;
}

struct Rule {
  const char* left;
  const char* line;
  const char* cross;
  const char* right;
};

std::string rule_line(const std::vector<Column>& columns, const Rule& rule) {
  std::string text = rule.left;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (i > 0) text += rule.cross;
    for (int k = 0; k < columns[i].width + 2; ++k) text += rule.line;
  }
  return text + rule.right + "\n";
}

std::string row_text(const std::vector<Column>& columns, const std::vector<std::string>& cells,
                     const std::string& bar) {
  std::vector<std::vector<std::string>> lines;
  std::size_t height = 1;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    lines.push_back(lines_of(cells[i], columns[i]));
    height = std::max(height, lines.back().size());
  }
  std::string text;
  for (std::size_t k = 0; k < height; ++k) {
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const std::string empty(static_cast<std::size_t>(columns[i].width), ' ');
      text += bar + " " + (k < lines[i].size() ? lines[i][k] : empty) + " ";
    }
    text += bar + "\n";
  }
  return text;
}

}  // namespace

std::string text_table(const std::vector<Column>& columns,
                       const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::string> headers;
  for (const Column& column : columns) headers.push_back(column.header);
  std::string text = rule_line(columns, {"┏", "━", "┳", "┓"});
  text += row_text(columns, headers, "┃");
  text += rule_line(columns, {"┡", "━", "╇", "┩"});
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (i > 0) text += rule_line(columns, {"├", "─", "┼", "┤"});
    text += row_text(columns, rows[i], "│");
  }
  return text + rule_line(columns, {"└", "─", "┴", "┘"});
}

}  // namespace grouphead::graph
