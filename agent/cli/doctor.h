// What is wrong with an installation: facts are collected once, then judged without looking again.
// The judging is pure, so that every finding has a test.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "agent/cli/context.h"
#include "agent/cli/limits.h"

namespace weir::cli {

enum class Severity { ok, info, warning, error };

struct Finding {
  Severity severity = Severity::ok;
  std::string check;   // a stable word: "runtime_dir", "attach_socket", ...
  std::string text;    // what was found
  std::string action;  // what to do; empty when there is nothing to do
};

struct PathFacts {
  int os_error = 0;  // of looking at it: ENOENT, EACCES, ...
  bool is_directory = false;
  bool is_socket = false;
  std::uint32_t mode = 0;  // permission bits
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  bool may_enter = false;
};

struct RulesFacts {
  std::string file;
  bool missing = false;
  std::string unreadable;  // why, when it is there and cannot be read
  std::vector<std::string> problems;
  std::vector<std::string> warnings;
};

struct DoctorFacts {
  Paths paths;
  PathFacts runtime_dir;
  PathFacts attach_socket;
  PathFacts admin_socket;

  std::uint32_t uid = 0;
  std::string user;
  std::string group;              // that owns the runtime directory
  bool in_group = false;          // this process
  bool in_group_by_name = false;  // the user, after a new login

  int attach_os_error = 0;        // of a bare connect to the attach socket
  std::int32_t attach_state = 0;  // of weir_open: WEIR_OK, WEIR_E_...
  std::optional<bool> heartbeat_fresh;

  std::optional<net::Error> admin_error;
  std::optional<v1::StatusResponse> status;
  Limits limits;

  std::string cli_version;
  std::string library_version;
  RulesFacts rules;

  bool rseq_built = true;
  bool rseq_registered = true;
  std::string sealing_error;
  std::uint64_t nofile_soft = 0;
  std::optional<std::uint64_t> agent_nofile_soft;
  std::int64_t timens_offset_ns = 0;
};

DoctorFacts collect_facts(const Context& context, const std::string& rules_file);

// In the order in which to repair. Names that others chose are not escaped yet.
std::vector<Finding> judge(const DoctorFacts& facts);

std::string_view to_text(Severity severity) noexcept;

}  // namespace weir::cli
