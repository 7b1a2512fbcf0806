#include <google/protobuf/stubs/logging.h>
#include <langinfo.h>
#include <unistd.h>

#include <clocale>
#include <cstdlib>
#include <iostream>
#include <string_view>

#include "agent/cli/app.h"

int main(int argc, char** argv) {
  // Characters alone: a decimal comma would break tables and scripts.
  std::setlocale(LC_CTYPE, "");
  // An agent that sends bad bytes is an error of ours to report, in our words.
  google::protobuf::SetLogHandler(nullptr);
  const weir::cli::Host host{std::cout,
                             std::cerr,
                             [](const char* name) { return std::getenv(name); },
                             ::isatty(STDOUT_FILENO) == 1,
                             {std::string_view{::nl_langinfo(CODESET)} == "UTF-8"},
                             weir::cli::run_in_place};
  const int exit_code = weir::cli::run_program({argv + 1, argv + argc}, host);
  if (!std::cout.flush()) {
    std::cerr << "weir: cannot write the output\n";
    return exit_code == weir::cli::kExitOk ? weir::cli::kExitFailure : exit_code;
  }
  return exit_code;
}
