// The clients: an open loop. Requests are due when chance says so, whatever has become of those
// before, and their time counts from when they were due, sent in time or not.
#pragma once

#include <string>

#include "bench/overload/cell.h"

namespace weir::bench {

// Does not return; the result is in `shared`.
[[noreturn]] void run_generator(const CellSpec& spec, const Place& place, const std::string& dir,
                                CellShared& shared);

}  // namespace weir::bench
