#include "agent/cli/context.h"

#include <ostream>

namespace weir::cli {

Paths resolve_paths(const GlobalOptions& options, const Environment& environment) {
  const auto variable = [&](const char* name) -> std::optional<std::string> {
    const char* value = environment(name);
    if (value == nullptr || *value == '\0') return std::nullopt;
    return std::string{value};
  };
  Paths paths;
  const auto runtime_dir_variable = variable("WEIR_RUNTIME_DIR");
  if (options.runtime_dir)
    paths.runtime_dir = *options.runtime_dir;
  else if (runtime_dir_variable)
    paths.runtime_dir = *runtime_dir_variable;
  while (paths.runtime_dir.size() > 1 && paths.runtime_dir.back() == '/')
    paths.runtime_dir.pop_back();
  paths.admin_socket = paths.runtime_dir + "/admin.sock";
  paths.attach_socket = paths.runtime_dir + "/agent.sock";
  if (options.socket) {
    paths.attach_socket = *options.socket;
  } else if (!options.runtime_dir) {
    if (const auto socket = variable("WEIR_SOCKET")) paths.attach_socket = *socket;
  }
  return paths;
}

std::string Context::styled(Style style, std::string_view text) const {
  const char* begin = "";
  switch (style) {
    case Style::plain:
      break;
    case Style::bold:
      begin = "\x1b[1m";
      break;
    case Style::dim:
      begin = "\x1b[2m";
      break;
    case Style::good:
      begin = "\x1b[32m";
      break;
    case Style::warn:
      begin = "\x1b[33m";
      break;
    case Style::bad:
      begin = "\x1b[31m";
      break;
  }
  if (!color || style == Style::plain) return std::string{text};
  return begin + std::string{text} + "\x1b[0m";
}

net::Result<v1::AdminResponse> Context::ask(const v1::AdminRequest& request) const {
  auto client = net::AdminClient::connect(paths.admin_socket, kCallTimeout);
  if (!client) return client.error();
  return client->call(request);
}

int Context::fail(const net::Error& error) const {
  const bool nobody = error.kind == net::Failure::no_agent || error.kind == net::Failure::timeout;
  return fail(error.text, nobody ? kExitNoAgent : kExitFailure);
}

int Context::fail(std::string_view text, int exit_code) const {
  err << "weir: " << escape_lines(text, charset) << '\n';
  return exit_code;
}

net::Error unexpected_answer(const std::string& path) {
  return {net::Failure::broken, path +
                                    ": the agent answered another question than the one asked. "
                                    "`weir version` compares the versions; install the same ones"};
}

}  // namespace weir::cli
