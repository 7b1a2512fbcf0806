// What every command gets: the global options, the streams, and the way to the agent.
#pragma once

#include <chrono>
#include <functional>
#include <iosfwd>
#include <optional>
#include <string>

#include "agent/cli/exit_code.h"
#include "agent/cli/text.h"
#include "net/admin_client.h"

namespace weir::cli {

inline constexpr const char* kDefaultRuntimeDir = "/run/weir";
inline constexpr const char* kDefaultRulesFile = "/etc/weir/rules.yaml";
inline constexpr std::chrono::milliseconds kCallTimeout{2000};

enum class Output { table, json };
enum class ColorMode { automatic, always, never };

// As given on the command line; see resolve_paths.
struct GlobalOptions {
  std::optional<std::string> socket;
  std::optional<std::string> runtime_dir;
  Output output = Output::table;
  ColorMode color = ColorMode::automatic;
  bool no_header = false;
};

struct Paths {
  std::string runtime_dir = kDefaultRuntimeDir;
  std::string attach_socket;
  std::string admin_socket;
};

using Environment = std::function<const char*(const char*)>;

// The nearest word wins: an option before a variable, a socket before a directory.
Paths resolve_paths(const GlobalOptions& options, const Environment& environment);

enum class Style { plain, bold, dim, good, warn, bad };

struct Context {
  std::ostream& out;
  std::ostream& err;
  Paths paths;
  Output output = Output::table;
  bool color = false;
  bool header = true;
  Charset charset;

  bool json() const noexcept { return output == Output::json; }
  std::string escaped(std::string_view untrusted) const { return escape(untrusted, charset); }
  std::string styled(Style style, std::string_view text) const;

  // Connects, asks once and hangs up.
  net::Result<v1::AdminResponse> ask(const v1::AdminRequest& request) const;

  // Prints "weir: ..." and returns the exit code that goes with it.
  int fail(const net::Error& error) const;
  int fail(std::string_view text, int exit_code = kExitFailure) const;
};

// An answer to another question than ours comes from an agent of another version.
net::Error unexpected_answer(const std::string& path);

}  // namespace weir::cli
