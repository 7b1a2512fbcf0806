#include "daemon/http/text_page.h"

#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace weir {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

std::vector<double> many_numbers() {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  std::vector<double> numbers{
      0,      1,  0.5,   0.001, 4.2e-06, 7.1e-05,           61.5, 1e6, 123456789, 1e15, 1e300,
      1e-300, -1, -0.25, kInf,  -kInf,   9007199254740991.0};
  numbers.push_back(std::numeric_limits<double>::quiet_NaN());
  return numbers;
}

MetricFamily a_family(MetricType type) {
  MetricFamily family{"weir_x_" + std::to_string(static_cast<int>(type)), "Help text.", type, {}};
  for (const double value : many_numbers()) {
    ClientMetric metric;
    metric.label = {{"a", "plain"}, {"b", "q\" b\\ n\n end"}};
    metric.counter.value = value;
    metric.gauge.value = value;
    metric.summary = {
        .sample_count = 7, .sample_sum = value, .quantile = {{0.5, 1}, {0.99, value}}};
    family.metric.push_back(metric);
    metric.label.clear();
    family.metric.push_back(metric);
  }
  return family;
}

TEST(TextPage, IsWhatPrometheusCppWrites) {
  const std::vector<MetricFamily> families{
      a_family(MetricType::Counter), a_family(MetricType::Gauge), a_family(MetricType::Summary)};

  EXPECT_EQ(to_text(families), prometheus::TextSerializer().Serialize(families));
}

}  // namespace
}  // namespace weir
