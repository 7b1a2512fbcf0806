// weir_bench: starts an agent, then runs all benchmarks in a random order, interleaved.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <vector>

#include "bench/host.h"
#include "bench/micro.h"

namespace {

// Before the caller's own, which win: a noisy neighbour then disturbs all benchmarks a little
// instead of one of them much, and the median of the repetitions is what counts.
char interleaving[] = "--benchmark_enable_random_interleaving=true";
char repetitions[] = "--benchmark_repetitions=9";
char min_time[] = "--benchmark_min_time=0.05";
char aggregates[] = "--benchmark_display_aggregates_only=true";

}  // namespace

int main(int argc, char** argv) {
  std::vector<char*> arguments{argv[0], interleaving, repetitions, min_time, aggregates};
  arguments.insert(arguments.end(), argv + 1, argv + argc);
  int count = static_cast<int>(arguments.size());
  arguments.push_back(nullptr);
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 64;

  weir::bench::AgentProcess agent;
  if (!agent.start(weir::bench::default_agent_path(), weir::bench::bench_rules())) {
    std::fprintf(stderr, "weir_bench: %s\n", agent.error().c_str());
    return 1;
  }
  if (!weir::bench::register_client_benchmarks(agent.socket_path())) return 1;
  weir::bench::register_mint_benchmarks();
  weir::bench::register_fair_share_benchmarks();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
