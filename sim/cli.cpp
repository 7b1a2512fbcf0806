#include "sim/cli.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <iomanip>
#include <mutex>
#include <nlohmann/json.hpp>
#include <ostream>
#include <thread>

#include "sim/figures.h"
#include "sim/report.h"
#include "sim/runner.h"
#include "sim/scenario.h"

namespace weir::sim {
namespace {

struct Options {
  std::string scenario = "calm-even";
  Wishes wishes;
  std::string output = "table";
  std::string trace;
  std::string seeds = "1..100";
  unsigned jobs = 1;
  bool quiet = false;
  FigureOptions figures;
};

void add_output(CLI::App& app, Options& options) {
  app.add_option("-o,--output", options.output, "How to print: table or json")
      ->check(CLI::IsMember({"table", "json"}).description(""))
      ->type_name("FORM");
}

void add_wishes(CLI::App& app, Options& options) {
  Wishes& wishes = options.wishes;
  const auto number = [&](const char* name, auto& value, const char* help) {
    app.add_option(name, value, help)->type_name("NUMBER");
  };
  app.add_option("-s,--scenario", options.scenario, "Which one; `weir-sim list` names them")
      ->type_name("NAME");
  number("--hosts", wishes.hosts, "Hosts");
  number("--limits", wishes.limits, "Limits, where the scenario has any number of them");
  number("--seconds", wishes.seconds, "Virtual seconds");
  number("--rate", wishes.rate, "Tokens a second, of every limit");
  number("--burst", wishes.burst, "Tokens, of every limit");
  number("--overload", wishes.overload, "What is wanted, in parts of the limit");
  number("--ttl", wishes.ttl_s, "Length of a lease, in seconds");
  number("--tail", wishes.tail_s, "Length of its tail, in seconds");
  number("--refresh", wishes.refresh_s, "Seconds between requests");
  app.add_option_function<std::string>(
         "--fallback",
         [&wishes](const std::string& word) {
           wishes.fallback = word == "strict"  ? Fallback::strict
                             : word == "local" ? Fallback::local
                                               : Fallback::open;
         },
         "After the lease and its tail: strict, local or open")
      ->check(CLI::IsMember({"strict", "local", "open"}).description(""))
      ->type_name("MODE");
  app.add_option("--mutant", wishes.mutants, "Take a rule out; `weir-sim list` names them")
      ->check(CLI::IsMember(mutant_names()).description(""))
      ->type_name("NAME");
}

int run_one(const Options& options, std::ostream& out, std::ostream& err) {
  const Scenario* scenario = find_scenario(options.scenario);
  if (scenario == nullptr) {
    err << "weir-sim: no scenario '" << options.scenario << "'; `weir-sim list` names them\n";
    return 2;
  }
  RunOptions run;
  run.progress = options.quiet ? nullptr : &err;
  if (!options.trace.empty()) {
    run.trace = &out;
    const auto colon = options.trace.find(':');
    run.trace_from_s = std::stod(options.trace);
    run.trace_to_s = colon == std::string::npos ? 1e9 : std::stod(options.trace.substr(colon + 1));
  }
  const Result result = run_setup(make_setup(*scenario, options.wishes), run);
  if (options.output == "json")
    out << to_json(result) << '\n';
  else
    print_table(out, result);
  return result.ok() ? 0 : 1;
}

int search(const Options& options, std::ostream& out, std::ostream& err) {
  const Scenario* scenario = find_scenario(options.scenario);
  if (scenario == nullptr) {
    err << "weir-sim: no scenario '" << options.scenario << "'\n";
    return 2;
  }
  const auto dots = options.seeds.find("..");
  const std::uint64_t first = std::stoull(options.seeds);
  const std::uint64_t last =
      dots == std::string::npos ? first : std::stoull(options.seeds.substr(dots + 2));
  const SearchResult found = search_seeds(*scenario, options.wishes, first, last, options.jobs,
                                          options.quiet ? nullptr : &err);
  if (options.output == "json") {
    nlohmann::ordered_json json = {{"scenario", scenario->name},
                                   {"seeds", found.seeds},
                                   {"use_mean", found.use.mean},
                                   {"worst_over_admission", found.worst_over},
                                   {"worst_peak", found.worst_peak}};
    json["failing"] = nlohmann::ordered_json::array();
    for (const SearchResult::Failure& failure : found.failures)
      json["failing"].push_back(
          {{"seed", failure.seed}, {"what", failure.what}, {"replay", failure.command}});
    out << json.dump(2) << '\n';
  } else {
    for (const SearchResult::Failure& failure : found.failures)
      out << failure.command << "   # " << failure.what << '\n';
    out << found.seeds << " seeds, " << found.failures.size() << " failing; use mean " << std::fixed
        << std::setprecision(4) << found.use.mean << " p1 " << found.use.p1
        << "; worst over-admission " << std::max(0.0, found.worst_over) << " tokens; worst peak "
        << found.worst_peak << " of the bound\n";
  }
  return found.failures.empty() ? 0 : 1;
}

int list(std::ostream& out) {
  out << "Scenarios:\n";
  for (const Scenario& scenario : scenarios())
    out << "  " << std::left << std::setw(18) << scenario.name << scenario.about << " ("
        << scenario.hosts << " hosts, " << std::setprecision(6) << scenario.seconds << " s)\n";
  out << "Mutants:\n";
  for (const std::string& name : mutant_names())
    out << "  " << name << '\n';
  return 0;
}

}  // namespace

int run_program(const std::vector<std::string>& arguments, std::ostream& out, std::ostream& err) {
  CLI::App app{"The lease core of weir, with hosts, servers, clocks and a network in virtual time"};
  app.name("weir-sim");
  app.require_subcommand(1);
  Options options;
  auto* run = app.add_subcommand("run", "One run: prints what came out");
  add_wishes(*run, options);
  add_output(*run, options);
  run->add_option("--seed", options.wishes.seed, "The seed (1)")->type_name("NUMBER");
  run->add_option("--trace", options.trace, "Prints every message from second FROM on, or to TO")
      ->type_name("FROM[:TO]");
  run->add_flag("-q,--quiet", options.quiet, "No progress on stderr");
  auto* seek = app.add_subcommand("search", "Many seeds: prints those that break a rule");
  add_wishes(*seek, options);
  add_output(*seek, options);
  seek->add_option("--seeds", options.seeds, "The seeds (1..100)")->type_name("FIRST..LAST");
  seek->add_option("--jobs", options.jobs, "Runs at a time (1)")->type_name("COUNT");
  seek->add_flag("-q,--quiet", options.quiet, "No progress on stderr");
  auto* figures = app.add_subcommand("figures", "The figures that the core must reach, measured");
  add_output(*figures, options);
  figures->add_option("--only", options.figures.only, "Only rows whose name contains this text")
      ->type_name("TEXT");
  figures->add_option("--runs", options.figures.runs, "Seeds for each row (20)")
      ->type_name("COUNT");
  auto* names = app.add_subcommand("list", "The scenarios, and the rules that can be taken out");

  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
  try {
    app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error, out, err);
    return code == 0 ? 0 : 2;
  }
  if (run->parsed()) return run_one(options, out, err);
  if (seek->parsed()) return search(options, out, err);
  if (figures->parsed()) {
    options.figures.json = options.output == "json";
    return print_figures(options.figures, out, err);
  }
  if (names->parsed()) return list(out);
  return 2;
}

}  // namespace weir::sim
