// The program without its process: arguments in, exit code out, streams given.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "agent/cli/commands.h"

namespace weir::cli {

// What main() knows and a test makes up.
struct Host {
  std::ostream& out;
  std::ostream& err;
  Environment environment;
  bool out_is_terminal = false;
  Charset charset;
  Runner run_command;
};

// `arguments` without the program's name.
int run_program(std::vector<std::string> arguments, const Host& host);

// In the order of --help.
std::vector<std::string> command_names();

}  // namespace weir::cli
