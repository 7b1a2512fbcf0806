// Columns for people: as wide as their contents, two spaces apart.
#pragma once

#include <string>
#include <vector>

#include "agent/cli/context.h"

namespace weir::cli {

enum class Align { left, right };

struct Column {
  std::string title;
  Align align = Align::left;
};

struct Cell {
  std::string text;  // escaped already
  Style style = Style::plain;

  Cell(std::string plain) : text(std::move(plain)) {}
  Cell(const char* plain) : text(plain) {}
  Cell(std::string words, Style how) : text(std::move(words)), style(how) {}
};

class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  // As many cells as there are columns.
  void add(std::vector<Cell> row) { rows_.push_back(std::move(row)); }
  bool empty() const noexcept { return rows_.empty(); }
  void print(const Context& context) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

// "Name:   value" lines with the values in one column.
class Facts {
 public:
  void add(std::string name, Cell value) { facts_.emplace_back(std::move(name), std::move(value)); }
  void print(const Context& context) const;

 private:
  std::vector<std::pair<std::string, Cell>> facts_;
};

}  // namespace weir::cli
