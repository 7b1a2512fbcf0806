#include "daemon/http/text_page.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <string_view>

namespace weir {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

constexpr std::size_t kSampleBytesGuess = 80;
constexpr double kExactIntegersEnd = 9'007'199'254'740'992.0;  // 2^53

void append_integer(std::string& out, std::uint64_t value) {
  std::array<char, 24> digits{};
  const auto result = std::to_chars(digits.data(), digits.data() + digits.size(), value);
  out.append(digits.data(), result.ptr);
}

void append_number(std::string& out, double value) {
  if (std::isnan(value)) {
    out += "Nan";
  } else if (std::isinf(value)) {
    out += value < 0 ? "-Inf" : "+Inf";
  } else if (value >= 0 && value < kExactIntegersEnd && value == std::floor(value)) {
    append_integer(out, static_cast<std::uint64_t>(value));
  } else {
    std::array<char, 32> digits{};
    const auto result = std::to_chars(digits.data(), digits.data() + digits.size(), value);
    out.append(digits.data(), result.ptr);
  }
}

void append_label_value(std::string& out, std::string_view value) {
  for (;;) {
    const std::size_t at = value.find_first_of("\\\"\n");
    out += value.substr(0, at);
    if (at == value.npos) return;
    out += '\\';
    out += value[at] == '\n' ? 'n' : value[at];
    value.remove_prefix(at + 1);
  }
}

// `quantile` is empty, or the value of one more label.
void append_head(std::string& out, const MetricFamily& family, std::string_view suffix,
                 const ClientMetric& metric, std::string_view quantile = {}) {
  out.append(family.name).append(suffix);
  if (!metric.label.empty() || !quantile.empty()) {
    char separator = '{';
    for (const ClientMetric::Label& label : metric.label) {
      out += separator;
      out.append(label.name).append("=\"");
      append_label_value(out, label.value);
      out += '"';
      separator = ',';
    }
    if (!quantile.empty()) {
      out += separator;
      out.append("quantile=\"").append(quantile).append("\"");
    }
    out += '}';
  }
  out += ' ';
}

void append_sample(std::string& out, const MetricFamily& family, const ClientMetric& metric,
                   double value) {
  append_head(out, family, "", metric);
  append_number(out, value);
  out += '\n';
}

void append_summary(std::string& out, const MetricFamily& family, const ClientMetric& metric) {
  append_head(out, family, "_count", metric);
  append_integer(out, metric.summary.sample_count);
  out += '\n';
  append_head(out, family, "_sum", metric);
  append_number(out, metric.summary.sample_sum);
  out += '\n';
  for (const ClientMetric::Quantile& quantile : metric.summary.quantile) {
    std::string which;
    append_number(which, quantile.quantile);
    append_head(out, family, "", metric, which);
    append_number(out, quantile.value);
    out += '\n';
  }
}

std::string_view type_word(MetricType type) noexcept {
  switch (type) {
    case MetricType::Counter:
      return "counter";
    case MetricType::Gauge:
      return "gauge";
    case MetricType::Summary:
      return "summary";
    default:
      return "untyped";
  }
}

}  // namespace

std::string to_text(const std::vector<MetricFamily>& families) {
  std::string out;
  std::size_t samples = 0;
  for (const MetricFamily& family : families)
    samples += family.metric.size() + 2;
  out.reserve(samples * kSampleBytesGuess);
  for (const MetricFamily& family : families) {
    out.append("# HELP ").append(family.name).append(" ").append(family.help).append("\n");
    out.append("# TYPE ").append(family.name).append(" ");
    out.append(type_word(family.type)).append("\n");
    for (const ClientMetric& metric : family.metric) {
      switch (family.type) {
        case MetricType::Counter:
          append_sample(out, family, metric, metric.counter.value);
          break;
        case MetricType::Gauge:
          append_sample(out, family, metric, metric.gauge.value);
          break;
        case MetricType::Summary:
          append_summary(out, family, metric);
          break;
        default:
          append_sample(out, family, metric, metric.untyped.value);
          break;
      }
    }
  }
  return out;
}

}  // namespace weir
