#pragma once

namespace weir::cli {

// The files of completions/, embedded when the program is built.
extern const char kBashCompletion[];
extern const char kZshCompletion[];

}  // namespace weir::cli
