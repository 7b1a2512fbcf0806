// weir_overload_bench: real processes, a real agent and more requests than the host can serve.
// docs/overload.md says what is measured and how to read it.
//
//   weir_overload_bench [--json FILE] [--all | --smoke] [--loads 1,2,5,10] [--processes 8,1,4]
//                       [--before S] [--during S] [--after S] [--settled S] [--work-ms 2]
//                       [--seed N] [--cpus SERVER,GENERATOR]
//
// 0: measured; 1: a rule was broken that holds on any machine (a limit, a leak); 2: usage;
// 3: could not run. Missed figures are printed and do not change the code: a busy machine misses.
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "bench/overload/plan.h"

namespace weir::bench {
namespace {

constexpr std::uint32_t kFixedTried[] = {2, 4, 6, 8, 12, 16, 24};
// Fewer in flight is better where the rest is equal; this much is chance.
constexpr double kEqual = 0.01;

class Run {
 public:
  Run(PlanOptions options, std::string dir) : dir_(std::move(dir)) {
    experiment_.options = std::move(options);
    if (!has_cpu(experiment_.options.generator_cpu))
      experiment_.options.generator_cpu = experiment_.options.server_cpu;
    place_.make(experiment_.options.server_cpu, experiment_.options.generator_cpu);
    experiment_.grouped = place_.grouped();
    place_.enter_generator();
  }

  bool whole(const std::string& json_path, std::string& error) {
    // What else ran for a moment must not pass for the machine: everything is judged by this.
    for (int i = 0; i < (experiment_.options.smoke ? 1 : 2); ++i) {
      double share = 0.0;
      if (!capacity(share, error)) return false;
      experiment_.capacity_share = std::max(experiment_.capacity_share, share);
    }
    experiment_.capacity_per_second =
        experiment_.capacity_share * 1e9 / static_cast<double>(experiment_.options.base.work_ns);
    std::printf("capacity %.1f/s, %.1f %% of a core; control group: %s\n",
                experiment_.capacity_per_second, 100.0 * experiment_.capacity_share,
                place_.grouped() ? "own" : "none");
    if (!find_fixed(error)) return false;
    for (const CellSpec& spec : plan_cells(experiment_.options, experiment_.capacity_per_second,
                                           experiment_.capacity_share, experiment_.fixed_limit)) {
      CellResult result;
      // One that failed is tried again; a long run is not lost to it.
      if (!run_cell(spec, place_, dir_, result, error)) {
        std::fprintf(stderr, "weir_overload_bench: %s; once more\n", error.c_str());
        result = {};
        if (!run_cell(spec, place_, dir_, result, error)) return false;
      }
      experiment_.cells.push_back(result);
      if (!json_path.empty()) std::ofstream(json_path) << json_text(experiment_);
      std::printf("%s\n", cell_line(result).c_str());
      std::fflush(stdout);
    }
    return capacity(experiment_.capacity_share_after, error);
  }

  const Experiment& experiment() const { return experiment_; }

 private:
  static bool has_cpu(int cpu) {
    cpu_set_t set;
    return ::sched_getaffinity(0, sizeof(set), &set) == 0 &&
           CPU_ISSET(static_cast<std::size_t>(cpu), &set);
  }

  bool capacity(double& share, std::string& error) {
    CellSpec spec = experiment_.options.base;
    spec.arm = BenchArm::none;
    spec.processes = experiment_.options.smoke ? 2 : experiment_.options.processes.front();
    spec.during_ns = experiment_.options.smoke ? kSecond : 4 * kSecond;
    CellResult result;
    if (!run_cell(spec, place_, dir_, result, error)) return false;
    share = result.run.capacity_share;
    return share > 0.0 || (error = "nothing was answered", false);
  }

  // What somebody would choose who could try everything in advance.
  bool find_fixed(std::string& error) {
    experiment_.fixed_limit = 8;
    if (experiment_.options.smoke) return true;
    CellSpec spec = experiment_.options.base;
    spec.capacity_per_second = experiment_.capacity_per_second;
    spec.capacity_share = experiment_.capacity_share;
    spec.arm = BenchArm::fixed;
    spec.load = 2.0;
    spec.processes = experiment_.options.processes.front();
    spec.before_ns = kSecond / 2;
    spec.during_ns = 3 * kSecond;
    spec.settled_ns = kSecond / 2;
    spec.after_ns = 0;
    double best = 0.0;
    for (const std::uint32_t limit : kFixedTried) {
      spec.fixed_limit = limit;
      CellResult result;
      if (!run_cell(spec, place_, dir_, result, error)) return false;
      experiment_.tried.push_back({limit, result.run.good_work, result.run.figures.p99_ms});
      best = std::max(best, result.run.good_work);
    }
    for (const FixedTry& one : experiment_.tried)
      if (one.good_work >= best - kEqual) {
        experiment_.fixed_limit = one.limit;
        break;
      }
    std::printf("fixed optimum: %u in flight\n", experiment_.fixed_limit);
    return true;
  }

  std::string dir_;
  Place place_;
  Experiment experiment_;
};

int run(int argc, char** argv) {
  std::string json_path;
  std::string error;
  auto options = parse_plan(argc, argv, json_path, error);
  if (!options) {
    std::fprintf(stderr, "%s\n", error.c_str());
    return 2;
  }
  std::string dir = (std::filesystem::temp_directory_path() / "weir-overload-XXXXXX").string();
  if (::mkdtemp(dir.data()) == nullptr) return std::perror("mkdtemp"), 3;
  int code = 0;
  {
    Run run(*options, dir);
    if (!run.whole(json_path, error)) {
      std::fprintf(stderr, "weir_overload_bench: %s\n", error.c_str());
      code = 3;
    } else {
      for (const Bar& bar : judge(run.experiment()))
        std::printf("%-64s %9.3f %s %8.3f  %s\n", bar.name.c_str(), bar.measured,
                    bar.at_least ? ">=" : "<=", bar.wanted, bar.reached() ? "reached" : "missed");
      if (!json_path.empty()) std::ofstream(json_path) << json_text(run.experiment());
      if (const std::string rule = broken_rule(run.experiment()); !rule.empty()) {
        std::fprintf(stderr, "weir_overload_bench: %s\n", rule.c_str());
        code = 1;
      }
    }
  }
  std::error_code ignored;
  std::filesystem::remove_all(dir, ignored);
  return code;
}

}  // namespace
}  // namespace weir::bench

int main(int argc, char** argv) { return weir::bench::run(argc, argv); }
