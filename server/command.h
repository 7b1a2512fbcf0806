// How the subcommands of weir-server (db, rules) fail.
#pragma once

#include <cstdio>
#include <string>

namespace weir::server {

inline constexpr int kExitFailure = 1;

// Says why, and returns the exit code. 'command' is the subcommand's name.
inline int command_failed(const char* command, const std::string& why, int code = kExitFailure) {
  std::fprintf(stderr, "weir-server %s: %s\n", command, why.c_str());
  return code;
}

}  // namespace weir::server
