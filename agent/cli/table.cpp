#include "agent/cli/table.h"

#include <algorithm>
#include <ostream>

namespace weir::cli {

namespace {

constexpr std::size_t kGap = 2;

std::string aligned(const Context& context, const Cell& cell, Align align, std::size_t width,
                    bool last) {
  const std::string space(width - std::min(width, columns(cell.text)), ' ');
  const std::string text = context.styled(cell.style, cell.text);
  if (align == Align::right) return space + text;
  return last ? text : text + space;  // no spaces at the end of a line
}

}  // namespace

void Table::print(const Context& context) const {
  std::vector<std::size_t> widths;
  for (const Column& column : columns_)
    widths.push_back(context.header ? columns(column.title) : 0);
  for (const auto& row : rows_)
    for (std::size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], columns(row[i].text));
  const auto print_row = [&](const std::vector<Cell>& row) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (i != 0) line.append(kGap, ' ');
      line += aligned(context, row[i], columns_[i].align, widths[i], i + 1 == row.size());
    }
    context.out << line << '\n';
  };
  if (context.header) {
    std::vector<Cell> titles;
    for (const Column& column : columns_)
      titles.emplace_back(column.title, Style::bold);
    print_row(titles);
  }
  for (const auto& row : rows_)
    print_row(row);
}

void Facts::print(const Context& context) const {
  std::size_t width = 0;
  for (const auto& fact : facts_)
    width = std::max(width, columns(fact.first));
  for (const auto& [name, value] : facts_) {
    const std::string space(width - columns(name) + kGap, ' ');
    context.out << context.styled(Style::bold, name + ":") << space
                << context.styled(value.style, value.text) << '\n';
  }
}

}  // namespace weir::cli
