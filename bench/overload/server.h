// A server process: one thread reads requests and decides at once, another one works them off in
// their order, burning as much CPU as each asks for.
#pragma once

#include <string>

#include "bench/overload/cell.h"

namespace weir::bench {

// Does not return.
[[noreturn]] void run_server(const CellSpec& spec, const Place& place, const std::string& dir,
                             const std::string& agent_socket, int index, CellShared& shared);

// Burns so much CPU time of this thread, however long that takes.
void burn(std::int64_t cpu_ns);

}  // namespace weir::bench
