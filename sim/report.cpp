#include "sim/report.h"

#include <cstdarg>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <ostream>

namespace weir::sim {
namespace {

using Json = nlohmann::ordered_json;

__attribute__((format(printf, 2, 3))) void line(std::ostream& out, const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  out << text << '\n';
}

Json json_of(const Spread& spread) {
  if (spread.count == 0) return nullptr;
  return {{"count", spread.count}, {"mean", spread.mean}, {"min", spread.least},
          {"p1", spread.p1},       {"p50", spread.p50},   {"p95", spread.p95},
          {"p99", spread.p99},     {"max", spread.most}};
}

Json json_of(const LimitResult& limit) {
  const LimitFigures& figures = limit.figures;
  return {
      {"name", limit.name},
      {"rate", limit.rate},
      {"burst", limit.burst},
      {"admitted", limit.admitted},
      // The worst window whatever against burst + rate x window, in tokens; below 0 is room.
      {"over_admitted", limit.over_admitted},
      {"over_admitted_with_what_is_kept_apart", limit.over_admitted_all},
      {"kept_apart",
       {{"stale", limit.stale}, {"copied", limit.copied}, {"fallback", limit.fallback}}},
      {"over_held_rate", limit.over_held_rate},
      {"over_held_burst", limit.over_held_burst},
      {"over_a_lowered_limit_s", limit.lowered_s},
      {"use", figures.contended_s > 0 ? Json(figures.use) : Json(nullptr)},
      {"contended_s", figures.contended_s},
      {"peak_of_bound", figures.peak},
      {"peak_of_rate", figures.peak_of_rate},
      {"held_peak", figures.held_peak},
      {"jain", json_of(figures.jain)},
      {"unfair", json_of(figures.unfair)},
      {"convergence_refreshes", json_of(figures.convergence)},
      {"first_convergence_refreshes", json_of(figures.first)},
      {"waits_s", json_of(figures.waits_s)},
      {"starved_most_s", figures.starved_most_s},
  };
}

}  // namespace

void print_table(std::ostream& out, const Result& result) {
  line(out, "%s, seed %llu: %u hosts, %zu limits, %.0f s in %.2f s of a core; %s",
       result.scenario.c_str(), static_cast<unsigned long long>(result.seed), result.hosts,
       result.limits.size(), result.seconds, result.cpu_s,
       result.ok() ? "all rules held" : "A RULE WAS BROKEN");
  line(out, "%-16s %9s %8s %8s %8s %7s %7s %8s %8s %23s", "limit", "rate", "burst", "over", "held",
       "use %", "peak %", "jain", "unfair%", "convergence 50/95/99");
  for (const LimitResult& limit : result.limits) {
    const LimitFigures& figures = limit.figures;
    char follow[64] = "-";
    if (figures.convergence.count > 0)
      std::snprintf(follow, sizeof follow, "%.2f/%.2f/%.2f (%zu)", figures.convergence.p50,
                    figures.convergence.p95, figures.convergence.p99, figures.convergence.count);
    line(out, "%-16s %9.5g %8.5g %8.4g %8.4g %7.2f %7.2f %8.5f %8.3f %23s", limit.name.c_str(),
         limit.rate, limit.burst, limit.over_admitted,
         std::max(limit.over_held_rate, limit.over_held_burst), 100 * figures.use,
         100 * figures.peak, figures.jain.mean, 100 * figures.unfair.mean, follow);
    if (figures.waits_s.count > 0)
      line(out, "%-16s waits of %zu callers, ms: p50 %.2f p95 %.2f p99 %.2f most %.2f", "",
           figures.waits_s.count, 1e3 * figures.waits_s.p50, 1e3 * figures.waits_s.p95,
           1e3 * figures.waits_s.p99, 1e3 * figures.waits_s.most);
    if (limit.stale + limit.copied + limit.fallback > 0)
      line(out, "%-16s kept apart: stale %.6g, copied %.6g, fallback %.6g; with them over %.4g", "",
           limit.stale, limit.copied, limit.fallback, limit.over_admitted_all);
  }
  line(out,
       "%.1f messages/s, %.2f requests/s a host, %.2f retries/s; %llu leases withdrawn, "
       "%llu new identities, %llu runaway clocks; %llu events",
       result.messages_per_s, result.requests_per_host_s, result.retries_per_s,
       static_cast<unsigned long long>(result.withdrawn),
       static_cast<unsigned long long>(result.identities),
       static_cast<unsigned long long>(result.runaways),
       static_cast<unsigned long long>(result.events));
  std::string faults;
  for (const auto& [name, count] : result.faults)
    faults += (faults.empty() ? "" : ", ") + name + " " + std::to_string(count);
  if (!faults.empty()) out << "faults: " << faults << '\n';
  if (result.learning_s.count > 0)
    line(out, "learning: %zu times, s: p50 %.2f most %.2f", result.learning_s.count,
         result.learning_s.p50, result.learning_s.most);
  for (const Violation& broken : result.violations)
    line(out, "BROKEN: %s: %s, first at %.6f s, by %.6g tokens %s", broken.limit.c_str(),
         broken.what.c_str(), broken.at_s, broken.amount, broken.note.c_str());
}

std::string to_json(const Result& result, bool timeless) {
  Json json = {{"scenario", result.scenario},
               {"seed", result.seed},
               {"hosts", result.hosts},
               {"seconds", result.seconds},
               {"ok", result.ok()}};
  if (!timeless) json["cpu_s"] = result.cpu_s;
  json["use"] = result.use();
  json["messages_per_s"] = result.messages_per_s;
  json["requests_per_host_s"] = result.requests_per_host_s;
  json["retries_per_s"] = result.retries_per_s;
  json["leases_withdrawn"] = result.withdrawn;
  json["new_identities"] = result.identities;
  json["runaway_clocks"] = result.runaways;
  json["round_trip_ms"] = result.round_trip_ms;
  json["learning_s"] = json_of(result.learning_s);
  json["events"] = result.events;
  json["limits"] = Json::array();
  for (const LimitResult& limit : result.limits)
    json["limits"].push_back(json_of(limit));
  json["faults"] = Json::object();
  for (const auto& [name, count] : result.faults)
    json["faults"][name] = count;
  json["violations"] = Json::array();
  for (const Violation& broken : result.violations)
    json["violations"].push_back({{"what", broken.what},
                                  {"limit", broken.limit},
                                  {"at_s", broken.at_s},
                                  {"tokens", broken.amount},
                                  {"note", broken.note}});
  return json.dump(2);
}

std::string replay_command(const std::string& scenario, const Wishes& wishes) {
  std::string text =
      "weir-sim run --scenario " + scenario + " --seed " + std::to_string(wishes.seed);
  const auto add = [&](const char* name, const auto& value) {
    if (!value) return;
    char number[48];
    std::snprintf(number, sizeof number, " --%s %.10g", name, static_cast<double>(*value));
    text += number;
  };
  add("hosts", wishes.hosts);
  add("limits", wishes.limits);
  add("seconds", wishes.seconds);
  add("rate", wishes.rate);
  add("burst", wishes.burst);
  add("overload", wishes.overload);
  add("ttl", wishes.ttl_s);
  add("tail", wishes.tail_s);
  add("refresh", wishes.refresh_s);
  if (wishes.fallback)
    text += std::string(" --fallback ") + (*wishes.fallback == Fallback::strict  ? "strict"
                                           : *wishes.fallback == Fallback::local ? "local"
                                                                                 : "open");
  for (const std::string& mutant : wishes.mutants)
    text += " --mutant " + mutant;
  return text;
}

}  // namespace weir::sim
