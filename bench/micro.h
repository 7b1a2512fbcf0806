// The groups of benchmarks that weir_bench registers.
#pragma once

#include <string>

#include "weir/weir.h"

namespace weir::bench {

// Opens a client at the agent and registers its calls. False, with a message, where that fails.
bool register_client_benchmarks(const std::string& socket_path);
void register_mint_benchmarks();
void register_fair_share_benchmarks();

}  // namespace weir::bench
