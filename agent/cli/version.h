#pragma once

namespace weir::cli {

inline constexpr const char* kVersion = WEIR_CLI_VERSION;

}  // namespace weir::cli
