#include "adaptive/feedback.h"

#include <array>
#include <charconv>
#include <cmath>
#include <string_view>
#include <vector>

namespace weir::adaptive {
namespace {

struct Pair {
  std::string_view name;
  double value;
};

bool known(double value) noexcept { return std::isfinite(value) && value >= 0.0; }

// Four decimals at most and no exponent, whatever the locale: a header is for other programs.
void append_number(std::string& out, double value) {
  std::array<char, 64> text{};
  value = std::min(value, 1e15);
  const auto [end, error] =
      std::to_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed, 4);
  std::string_view digits(text.data(), static_cast<std::size_t>(end - text.data()));
  while (digits.ends_with('0'))
    digits.remove_suffix(1);
  if (digits.ends_with('.')) digits.remove_suffix(1);
  out += error == std::errc{} ? digits : std::string_view("0");
}

std::vector<Pair> standard_pairs(const LoadReport& report) {
  std::vector<Pair> pairs;
  const auto add = [&pairs](std::string_view name, double value) {
    if (known(value)) pairs.push_back({name, value});
  };
  add("cpu_utilization", report.cpu_utilization);
  if (known(report.memory_utilization))
    add("mem_utilization", std::min(report.memory_utilization, 1.0));
  add("application_utilization", utilization(report));
  add("rps_fractional", report.requests_per_second);
  add("eps", report.errors_per_second);
  return pairs;
}

std::vector<Pair> named_pairs(const LoadReport& report) {
  std::vector<Pair> pairs;
  if (known(report.in_flight)) pairs.push_back({"in_flight", report.in_flight});
  if (known(report.limit)) pairs.push_back({"limit", report.limit});
  if (known(report.shed_share)) pairs.push_back({"shed_share", std::min(report.shed_share, 1.0)});
  return pairs;
}

void append_json(std::string& out, const std::vector<Pair>& pairs) {
  for (const Pair& pair : pairs) {
    if (out.back() != '{') out += ',';
    out += '"';
    out += pair.name;
    out += "\":";
    append_number(out, pair.value);
  }
}

}  // namespace

double utilization(const LoadReport& report) noexcept {
  double worst = -1.0;
  if (known(report.cpu_utilization)) worst = std::max(worst, report.cpu_utilization);
  if (known(report.application_utilization))
    worst = std::max(worst, report.application_utilization);
  if (known(report.in_flight) && known(report.limit) && report.limit > 0.0)
    worst = std::max(worst, report.in_flight / report.limit);
  if (known(report.shed_share) && report.shed_share > 0.0)
    worst = std::max(worst, 1.0 / std::max(0.001, 1.0 - report.shed_share));
  return worst;
}

std::string orca_text(const LoadReport& report) {
  std::string out = "TEXT ";
  bool first = true;
  const auto append = [&](std::string_view prefix, const Pair& pair) {
    if (!first) out += ", ";
    first = false;
    out += prefix;
    out += pair.name;
    out += '=';
    append_number(out, pair.value);
  };
  for (const Pair& pair : standard_pairs(report))
    append("", pair);
  for (const Pair& pair : named_pairs(report))
    append("named_metrics.", pair);
  return out;
}

std::string orca_json(const LoadReport& report) {
  std::string out = "JSON {";
  append_json(out, standard_pairs(report));
  const std::vector<Pair> named = named_pairs(report);
  if (!named.empty()) {
    if (out.back() != '{') out += ',';
    out += "\"named_metrics\":{";
    append_json(out, named);
    out += '}';
  }
  return out + '}';
}

std::string load_json(const LoadReport& report) {
  std::string out = "{";
  append_json(out, standard_pairs(report));
  append_json(out, named_pairs(report));
  return out + '}';
}

}  // namespace weir::adaptive
