#include "daemon/program/log_arguments.h"

#include <CLI/CLI.hpp>

#include "daemon/log/log.h"

namespace weir {

void declare_log(CLI::App& cli, LogArguments& arguments) {
  cli.add_option("--log-level", arguments.level, "trace, debug, info, warn or error")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error"}))
      ->capture_default_str();
  cli.add_option("--log-format", arguments.format, "text, json, journald or auto")
      ->check(CLI::IsMember({"text", "json", "journald", "auto"}))
      ->capture_default_str();
}

std::string start_log(const LogArguments& arguments) {
  LogOptions log;
  log.level = parse_log_level(arguments.level).value_or(LogLevel::info);
  log.format = parse_log_format(arguments.format).value_or(LogFormat::automatic);
  return init_log(log);
}

}  // namespace weir
