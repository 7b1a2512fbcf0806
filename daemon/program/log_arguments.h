// --log-level and --log-format, the same for every daemon.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace weir {

struct LogArguments {
  std::string level = "info";
  std::string format = "auto";
};

void declare_log(CLI::App& cli, LogArguments& arguments);
// Opens the log as asked. Empty, or what is wrong.
std::string start_log(const LogArguments& arguments);

}  // namespace weir
