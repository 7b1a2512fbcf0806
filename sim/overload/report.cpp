#include "sim/overload/report.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>

namespace weir::overload {
namespace {

constexpr double kNeverSeconds = 999.0;

[[gnu::format(printf, 1, 2)]] std::string format(const char* pattern, ...) {
  char text[256];
  std::va_list arguments;
  va_start(arguments, pattern);
  const int written = std::vsnprintf(text, sizeof text, pattern, arguments);
  va_end(arguments);
  return written > 0 ? std::string(text) : std::string();
}

std::string seconds_text(double value) {
  return value < 0.0 ? std::string("never") : format("%.1f s", value);
}

std::string seconds_json(double value) {
  return value < 0.0 ? std::string("null") : format("%.1f", value);
}

double worse(double a, double b) {
  const double x = a < 0.0 ? kNeverSeconds : a;
  const double y = b < 0.0 ? kNeverSeconds : b;
  const double worst = std::max(x, y);
  return worst >= kNeverSeconds ? -1.0 : worst;
}

}  // namespace

Figures combined(const std::vector<Figures>& seeds) {
  Figures sum;
  if (seeds.empty()) return sum;
  const auto count = static_cast<double>(seeds.size());
  sum.control_seconds = 0.0;
  sum.recover_seconds = 0.0;
  sum.possible_of_most = 0.0;
  for (const Figures& one : seeds) {
    sum.goodput += one.goodput / count;
    sum.p99_ms += one.p99_ms / count;
    sum.shed += one.shed / count;
    sum.falsely_shed = std::max(sum.falsely_shed, one.falsely_shed);
    sum.control_seconds = worse(sum.control_seconds, one.control_seconds);
    sum.recover_seconds = worse(sum.recover_seconds, one.recover_seconds);
    sum.possible_of_most += one.possible_of_most / count;
    for (std::size_t i = 0; i < kClasses; ++i)
      sum.answered[i] += one.answered[i] / count;
  }
  return sum;
}

std::string table_text(const std::vector<Row>& rows, const std::vector<Bar>& bars) {
  std::string out = format("%-22s %4s %6s %8s %9s %8s %8s %8s   %s\n", "arm", "proc", "load",
                           "goodput", "p99", "control", "recover", "false", "answered, by class");
  for (const Row& row : rows) {
    const Figures& f = row.figures;
    out += format("%-22s %4d %5.1fx %7.1f%% %6.0f ms %8s %8s %7.3f%%  ", row.arm.c_str(),
                  row.processes, row.load, 100.0 * f.goodput, f.p99_ms,
                  seconds_text(f.control_seconds).c_str(), seconds_text(f.recover_seconds).c_str(),
                  100.0 * f.falsely_shed);
    for (const double answered : f.answered)
      out += format(" %6.2f", 100.0 * answered);
    out += '\n';
  }
  if (!bars.empty()) out += '\n';
  for (const Bar& bar : bars) {
    out += format("%-66s %8.3f %s %8.3f  %s", bar.name.c_str(), bar.measured,
                  bar.at_least ? ">=" : "<=", bar.wanted, bar.reached() ? "reached" : "MISSED");
    if (bar.stated >= 0.0)
      out += format(" (possible %.2f; %.1f itself is %s)", bar.possible, bar.stated,
                    bar.measured >= bar.stated ? "reached" : "missed");
    out += '\n';
  }
  return out;
}

std::string json_text(const std::vector<Row>& rows, const std::vector<Bar>& bars,
                      const Scenario& scenario, int seeds) {
  std::string out = format(
      "{\"seed\":%llu,\"seeds\":%d,\"cores\":%d,\"capacity_per_second\":%.1f,"
      "\"base_load\":%.3f,\"deadline_ms\":%.1f,\"refuse_ms\":%.4f,\"rows\":[",
      static_cast<unsigned long long>(scenario.seed), seeds, scenario.cores,
      scenario.capacity_per_second(), scenario.base_load,
      static_cast<double>(scenario.deadline_ns) * 1e-6,
      static_cast<double>(scenario.refuse_ns) * 1e-6);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Figures& f = rows[i].figures;
    out += i == 0 ? "\n" : ",\n";
    out += format("{\"arm\":\"%s\",\"processes\":%d,\"load\":%.2f,\"goodput\":%.5f,",
                  rows[i].arm.c_str(), rows[i].processes, rows[i].load, f.goodput);
    out += format(
        "\"p99_ms\":%.2f,\"control_s\":%s,\"recover_s\":%s,\"falsely_shed\":%.6f,"
        "\"shed\":%.5f,\"answered\":[%.6f,%.6f,%.6f,%.6f]}",
        f.p99_ms, seconds_json(f.control_seconds).c_str(), seconds_json(f.recover_seconds).c_str(),
        f.falsely_shed, f.shed, f.answered[0], f.answered[1], f.answered[2], f.answered[3]);
  }
  out += "],\"bars\":[";
  for (std::size_t i = 0; i < bars.size(); ++i) {
    const Bar& bar = bars[i];
    out += format("%s\n{\"name\":\"%s\",\"measured\":%.5f,\"wanted\":%.5f,\"reached\":%s",
                  i == 0 ? "" : ",", bar.name.c_str(), bar.measured, bar.wanted,
                  bar.reached() ? "true" : "false");
    if (bar.stated >= 0.0)
      out += format(",\"stated\":%.5f,\"possible\":%.5f", bar.stated, bar.possible);
    out += '}';
  }
  return out + "]}\n";
}

}  // namespace weir::overload
