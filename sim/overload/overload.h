// `weir-sim overload`: what admission control is worth when a host is offered more than it can do.
#pragma once

namespace weir::overload {

// Prints a table, or JSON with --json. 0: all that ours must reach was reached; 1: not; 2: usage.
int run_overload(int argc, char** argv);

}  // namespace weir::overload
