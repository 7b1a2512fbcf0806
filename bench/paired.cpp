// weir_paired: the calls of libweir against their floors, in one and in two processes.
#include <cstdio>
#include <cstring>
#include <string>

#include "bench/report.h"
#include "bench/rows.h"

namespace {

using namespace weir::bench;

constexpr int kMeasured = 0;
constexpr int kFailed = 1;
constexpr int kMissed = 2;
constexpr int kUsage = 64;

struct Arguments {
  std::string json;
  std::string agent = default_agent_path();
  bool quick = false;
  bool check = false;
  bool idle = true;
};

void print_usage(std::FILE* out) {
  std::fputs(
      "weir_paired [--json FILE] [--quick] [--check] [--no-idle] [--agent PROGRAM]\n"
      "  --json FILE      also write the rows to FILE\n"
      "  --quick          fewer rounds: a first impression\n"
      "  --check          end with 2 when a bar was missed\n"
      "  --no-idle        leave out idle_agent_cpu\n"
      "  --agent PROGRAM  the weir-agent to start; default: the one beside this program\n",
      out);
}

bool parse(int argc, char** argv, Arguments& arguments) {
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--quick")
      arguments.quick = true;
    else if (argument == "--check")
      arguments.check = true;
    else if (argument == "--no-idle")
      arguments.idle = false;
    else if (argument == "--json" && i + 1 < argc)
      arguments.json = argv[++i];
    else if (argument == "--agent" && i + 1 < argc)
      arguments.agent = argv[++i];
    else
      return false;
  }
  return true;
}

int run(const Arguments& arguments) {
  Effort effort;
  if (arguments.quick) effort = {61, 15, 5'000'000'000};
  std::vector<Row> rows;
  {
    std::fprintf(stderr, "measuring calls, each with its floor ...\n");
    AgentProcess agent;
    if (!agent.start(arguments.agent, bench_rules())) {
      std::fprintf(stderr, "bench: %s\n", agent.error().c_str());
      return kFailed;
    }
    rows = measure_calls(agent, effort);
    if (rows.empty()) return kFailed;
  }
  if (arguments.idle) {
    std::fprintf(stderr, "measuring an idle agent with 1,000 limits ...\n");
    const auto idle = measure_idle_agent(arguments.agent, effort);
    if (!idle) return kFailed;
    rows.push_back(*idle);
  }
  print_table(stdout, rows);
  if (!arguments.json.empty() && !write_json(arguments.json, rows)) {
    std::fprintf(stderr, "bench: cannot write %s\n", arguments.json.c_str());
    return kFailed;
  }
  for (const Row& row : rows)
    if (arguments.check && !row.reached()) return kMissed;
  return kMeasured;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  if (argc == 2 && std::strcmp(argv[1], "--help") == 0) {
    print_usage(stdout);
    return kMeasured;
  }
  if (!parse(argc, argv, arguments)) {
    print_usage(stderr);
    return kUsage;
  }
  return run(arguments);
}
