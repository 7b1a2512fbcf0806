#include "sim/figures.h"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>
#include <ostream>
#include <vector>

#include "sim/runner.h"

namespace weir::sim {
namespace {

// Several runs of a scenario, put together.
struct Pool {
  unsigned runs = 0;
  unsigned broken = 0;
  double over = 0;  // tokens beyond the bound, the worst
  double used = 0, contended_s = 0;
  double peak = 0, held_peak = 0, cpu_s = 0;
  double starved_s = 0;
  double messages_per_host_s = 0;
  double round_trip_s = 0;
  std::vector<double> jains, unfairs, moves, waits;

  double use_percent() const { return contended_s > 0 ? 100 * used / contended_s : 0; }
};

Pool run_pool(const std::string& scenario, unsigned runs, std::ostream& err) {
  Pool pool;
  for (unsigned seed = 1; seed <= runs; ++seed) {
    Wishes wishes;
    wishes.seed = seed;
    RunOptions options;
    options.progress = &err;
    const Result result = run_setup(make_setup(*find_scenario(scenario), wishes), options);
    ++pool.runs;
    pool.broken += result.ok() ? 0 : 1;
    pool.cpu_s = std::max(pool.cpu_s, result.cpu_s);
    pool.round_trip_s = result.round_trip_ms / 1e3;
    pool.messages_per_host_s += result.messages_per_s / result.hosts / runs;
    for (const LimitResult& limit : result.limits) {
      const LimitFigures& figures = limit.figures;
      const auto add = [](std::vector<double>& to, const std::vector<double>& from) {
        to.insert(to.end(), from.begin(), from.end());
      };
      pool.over = std::max(pool.over, limit.over_admitted);
      pool.used += figures.use * figures.contended_s;
      pool.contended_s += figures.contended_s;
      pool.peak = std::max(pool.peak, figures.peak);
      pool.held_peak = std::max(pool.held_peak, figures.held_peak);
      pool.starved_s = std::max(pool.starved_s, figures.starved_most_s);
      add(pool.jains, figures.jains);
      add(pool.unfairs, figures.unfairs);
      add(pool.moves, figures.moves);
      add(pool.waits, figures.waits);
    }
  }
  return pool;
}

struct Line {
  std::string name;
  double value = 0;
  double bar = 0;
  bool at_least = true;  // else at most
  const char* unit = "";

  bool reached() const { return at_least ? value >= bar : value <= bar; }
};

struct Section {
  const char* scenario;
  unsigned runs_part;  // of the runs that are wanted, in tenths; 0: a single one
  std::function<void(const Pool&, std::vector<Line>&)> rows;
};

void safe(const Pool& pool, std::vector<Line>& rows, const std::string& name) {
  rows.push_back({name + ": tokens over the bound", std::max(0.0, pool.over), 0, false, ""});
  rows.push_back(
      {name + ": runs that broke a rule", static_cast<double>(pool.broken), 0, false, ""});
}

void use(const Pool& pool, std::vector<Line>& rows, const std::string& name, double bar) {
  rows.push_back({name + ": use", pool.use_percent(), bar, true, "%"});
}

void peaks(const Pool& pool, std::vector<Line>& rows, const std::string& name) {
  rows.push_back(
      {name + ": most in any second, of burst + rate", 100 * pool.peak, 100, false, "%"});
  rows.push_back(
      {name + ": most held at once, of the limit", 100 * pool.held_peak, 100, false, "%"});
}

void doorman(const Pool& pool, std::vector<Line>& rows, const std::string& name, double bar) {
  use(pool, rows, name, bar);
  rows.push_back(
      {name + ": most held at once, of the limit", 100 * pool.held_peak, 106, false, "%"});
}

const std::vector<Section>& sections() {
  static const std::vector<Section> all = {
      {"heavy-chaos", 100, [](const Pool& p, auto& rows) { safe(p, rows, "heavy chaos"); }},
      {"chaos", 100, [](const Pool& p, auto& rows) { safe(p, rows, "chaos with copies, stops"); }},
      {"failover", 20, [](const Pool& p, auto& rows) { safe(p, rows, "failover"); }},
      {"drift-one-sided", 1,
       [](const Pool& p, auto& rows) { safe(p, rows, "all clocks fast by 0.1 %, 1800 s"); }},
      {"calm-even", 10,
       [](const Pool& p, auto& rows) {
         use(p, rows, "calm, even arrivals", 99);
         rows.push_back({"calm, even arrivals: Jain", spread_of(p.jains).mean, 0.999, true, ""});
       }},
      {"calm-poisson", 10,
       [](const Pool& p, auto& rows) {
         use(p, rows, "calm, Poisson", 97);
         rows.push_back({"calm, Poisson: Jain", spread_of(p.jains).mean, 0.99, true, ""});
       }},
      {"mishap-a-minute", 10,
       [](const Pool& p, auto& rows) {
         safe(p, rows, "a mishap a minute");
         use(p, rows, "a mishap a minute, steady", 97);
         peaks(p, rows, "a mishap a minute, steady");
       }},
      {"mishap-moving", 10,
       [](const Pool& p, auto& rows) {
         use(p, rows, "a mishap a minute, moving", 95.5);
         peaks(p, rows, "a mishap a minute, moving");
       }},
      {"moving", 20,
       [](const Pool& p, auto& rows) {
         const Spread moves = spread_of(p.moves);
         rows.push_back({"convergence p50", moves.p50, 1.2, false, "refreshes"});
         rows.push_back({"convergence p95", moves.p95, 2.3, false, "refreshes"});
         rows.push_back({"convergence p99", moves.p99, 3.0, false, "refreshes"});
         use(p, rows, "calm, moving", 97);
       }},
      {"first-token", 5,
       [](const Pool& p, auto& rows) {
         const Spread waits = spread_of(p.waits);
         rows.push_back({"first token p50", waits.p50 / p.round_trip_s, 2, false, "round trips"});
         rows.push_back({"first token p95", waits.p95 / p.round_trip_s, 2, false, "round trips"});
       }},
      {"retry-storm", 10,
       [](const Pool& p, auto& rows) {
         rows.push_back({"retry storm of 10: fairness error", 100 * spread_of(p.unfairs).mean, 1.5,
                         false, "%"});
       }},
      {"doorman-1", 0, [](const Pool& p, auto& rows) { doorman(p, rows, "doorman 1", 96.8); }},
      {"doorman-2", 0, [](const Pool& p, auto& rows) { doorman(p, rows, "doorman 2", 96.6); }},
      {"doorman-3", 0, [](const Pool& p, auto& rows) { doorman(p, rows, "doorman 3", 96.6); }},
      {"doorman-4", 0, [](const Pool& p, auto& rows) { doorman(p, rows, "doorman 4", 96.8); }},
      {"doorman-5", 0, [](const Pool& p, auto& rows) { doorman(p, rows, "doorman 5", 96.8); }},
      {"doorman-6", 0, [](const Pool& p, auto& rows) { doorman(p, rows, "doorman 6", 96.8); }},
      {"doorman-7", 0, [](const Pool& p, auto& rows) { doorman(p, rows, "doorman 7", 96.6); }},
      {"big", 0,
       [](const Pool& p, auto& rows) {
         safe(p, rows, "10,000 hosts x 10 limits");
         rows.push_back({"10,000 hosts x 10 limits x 60 s", p.cpu_s, 60, false, "s"});
         use(p, rows, "10,000 hosts x 10 limits", 90);
       }},
  };
  return all;
}

void print_line(std::ostream& out, const Line& row) {
  char text[160];
  std::snprintf(text, sizeof text, "%-58s %10.4f %s %8.4g %-11s %s\n", row.name.c_str(), row.value,
                row.at_least ? ">=" : "<=", row.bar, row.unit, row.reached() ? "ok" : "MISS");
  out << text << std::flush;
}

}  // namespace

int print_figures(const FigureOptions& options, std::ostream& out, std::ostream& err) {
  bool all_reached = true;
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const Section& section : sections()) {
    if (std::string(section.scenario).find(options.only) == std::string::npos) continue;
    const unsigned runs =
        section.runs_part == 0 ? 1 : std::max(1U, options.runs * section.runs_part / 10);
    std::vector<Line> rows;
    section.rows(run_pool(section.scenario, runs, err), rows);
    for (const Line& row : rows) {
      all_reached = all_reached && row.reached();
      if (options.json)
        json.push_back({{"name", row.name},
                        {"scenario", section.scenario},
                        {"runs", runs},
                        {"value", row.value},
                        {"bar", row.bar},
                        {"at_least", row.at_least},
                        {"unit", row.unit},
                        {"reached", row.reached()}});
      else
        print_line(out, row);
    }
  }
  if (options.json) out << json.dump(2) << '\n';
  return all_reached ? 0 : 1;
}

}  // namespace weir::sim
