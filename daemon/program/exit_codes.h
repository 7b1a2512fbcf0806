// How our daemons end, after sysexits.h; their unit files count on these.
#pragma once

namespace weir {

inline constexpr int kExitOk = 0;
inline constexpr int kExitUsage = 64;
inline constexpr int kExitInternal = 70;
inline constexpr int kExitAlreadyRunning = 75;
inline constexpr int kExitConfig = 78;

}  // namespace weir
