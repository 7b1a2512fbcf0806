// The commands. Each returns the program's exit code and prints to the context's streams alone.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "agent/cli/context.h"

namespace weir::cli {

int cmd_status(const Context& context);

enum class SortKey { name, admitted, refused, level, waiting };

struct ListOptions {
  std::string pattern;  // a shell pattern; empty: all
  std::string domain;   // empty: all
  SortKey sort = SortKey::name;
  bool names = false;
  bool resources = false;  // these alone
};
int cmd_list(const Context& context, const ListOptions& options);

struct ShowOptions {
  std::string name;
  std::string domain;
};
int cmd_show(const Context& context, const ShowOptions& options);

int cmd_clients(const Context& context);

struct TopOptions {
  double interval_s = 1.0;
  SortKey sort = SortKey::admitted;
  std::string filter;
  bool once = false;          // print one screen as text and end
  std::uint32_t width = 100;  // of that screen
  std::uint32_t samples = 2;  // how many intervals that screen has seen
  bool resources = false;     // begin with the resources
};
int cmd_top(const Context& context, const TopOptions& options);

// Runs a command and returns what a shell would see as its exit code.
using Runner = std::function<int(const Context&, const std::vector<std::string>&)>;
int run_in_place(const Context& context, const std::vector<std::string>& command);

struct TakeOptions {
  std::string name;
  std::uint32_t tokens = 1;
  std::uint64_t wait_ns = 0;
  std::int32_t priority_class = 1;
  bool allow_without_agent = false;
  std::vector<std::string> command;
};
int cmd_take(const Context& context, const TakeOptions& options, const Runner& run);

struct RulesOptions {
  std::string file;  // check: empty means the default; apply, diff: empty means the agent's own
  bool save = false;
  bool dry_run = false;
  bool exit_code = false;  // diff: 1 when something would change
};
int cmd_rules_check(const Context& context, const RulesOptions& options);
int cmd_rules_apply(const Context& context, const RulesOptions& options);
int cmd_rules_diff(const Context& context, const RulesOptions& options);

// Ask the token server, through the agent.
int cmd_cluster_status(const Context& context);
int cmd_cluster_hosts(const Context& context, const std::string& limit);  // empty: all hosts
int cmd_cluster_top(const Context& context, const TopOptions& options);

struct DoctorOptions {
  std::string rules_file;  // empty: the agent's, or the default
  bool all = false;        // print what is in order, too
};
int cmd_doctor(const Context& context, const DoctorOptions& options);

struct BenchOptions {
  std::string name;  // a limit of the agent; empty: a private bucket
  double seconds = 3.0;
  std::uint32_t threads = 0;  // 0: as many as there are CPUs, at most 4
};
int cmd_bench(const Context& context, const BenchOptions& options);

struct BreakerOptions {
  std::string name;   // empty: all
  std::string state;  // open, close, auto; empty: only show
  std::string domain;
  std::uint64_t for_ns = 0;  // 0: until told otherwise
};
int cmd_breaker(const Context& context, const BreakerOptions& options);

struct DegradeOptions {
  std::string name;   // empty: all
  std::string level;  // 0..8, auto; empty: only show
  std::string domain;
  std::uint32_t drill_permille = 0;  // 0: no drill, all requests
  std::uint64_t for_ns = 0;
};
int cmd_degrade(const Context& context, const DegradeOptions& options);

struct LoadOptions {
  std::string name;  // empty: the host and all resources
  std::string domain;
  bool orca = false;
};
int cmd_load(const Context& context, const LoadOptions& options);

int cmd_version(const Context& context);
int cmd_completion(const Context& context, const std::string& shell);

}  // namespace weir::cli
