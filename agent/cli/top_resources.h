// The rows of `weir top` for resources.
#pragma once

#include <vector>

#include "agent/cli/top_view.h"

namespace weir::cli {

// The titles and the rows that the cursor's page shows.
void add_resource_rows(const Context& context, const TopModel& model, std::size_t width,
                       std::size_t rows, std::vector<Line>& lines);
// The titles and all rows, whichever list the model shows.
void add_all_resources(const Context& context, const TopModel& model, std::size_t width,
                       std::vector<Line>& lines);

}  // namespace weir::cli
