// The figures that the core must reach: each row is measured and set against its bar.
#pragma once

#include <iosfwd>
#include <string>

namespace weir::sim {

struct FigureOptions {
  std::string only;    // rows whose name contains it; empty: all
  unsigned runs = 20;  // seeds a row, where one run is not enough
  bool json = false;
};

// 0 when every bar is reached.
int print_figures(const FigureOptions& options, std::ostream& out, std::ostream& err);

}  // namespace weir::sim
