// The options of `weir breaker`, `weir degrade` and `weir load`.
#pragma once

#include <string>

#include "agent/cli/commands.h"

namespace CLI {
class App;
}

namespace weir::cli {

struct ToolkitOptions {
  BreakerOptions breaker;
  DegradeOptions degrade;
  LoadOptions load;
};

void add_toolkit(CLI::App& app, ToolkitOptions& options);
// Runs one of the three; of the command that was given.
int run_toolkit(const CLI::App& command, const Context& context, const ToolkitOptions& options);

}  // namespace weir::cli
