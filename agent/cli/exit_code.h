// What the program's exit says. weir(1) documents these.
#pragma once

namespace weir::cli {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;  // it failed, or found something (doctor: warnings)
inline constexpr int kExitUsage = 2;    // doctor: errors
inline constexpr int kExitNoAgent = 69;
inline constexpr int kExitRefused = 75;
// As a shell has them, for the command that `weir take` starts.
inline constexpr int kExitCannotRun = 126;
inline constexpr int kExitNotFound = 127;

}  // namespace weir::cli
