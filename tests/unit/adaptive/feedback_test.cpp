#include "adaptive/feedback.h"

#include <gtest/gtest.h>

#include <cmath>

namespace weir::adaptive {
namespace {

const LoadReport kReport{.cpu_utilization = 0.3,
                         .application_utilization = 0.5,
                         .memory_utilization = 0.8,
                         .requests_per_second = 10,
                         .errors_per_second = 1.25,
                         .in_flight = 6,
                         .limit = 12,
                         .shed_share = 0};

TEST(Orca, Text) {
  EXPECT_EQ(orca_text(kReport),
            "TEXT cpu_utilization=0.3, mem_utilization=0.8, application_utilization=0.5, "
            "rps_fractional=10, eps=1.25, named_metrics.in_flight=6, named_metrics.limit=12, "
            "named_metrics.shed_share=0");
}

TEST(Orca, Json) {
  EXPECT_EQ(orca_json(kReport),
            "JSON {\"cpu_utilization\":0.3,\"mem_utilization\":0.8,"
            "\"application_utilization\":0.5,\"rps_fractional\":10,\"eps\":1.25,"
            "\"named_metrics\":{\"in_flight\":6,\"limit\":12,\"shed_share\":0}}");
  EXPECT_EQ(load_json({.in_flight = 1}), "{\"in_flight\":1}");
}

TEST(Orca, WhatIsUnknownIsLeftOut) {
  EXPECT_EQ(orca_text({}), "TEXT ");
  EXPECT_EQ(orca_json({.cpu_utilization = std::nan(""), .in_flight = -3}), "JSON {}");
  EXPECT_EQ(load_json({.requests_per_second = HUGE_VAL}), "{}");
  EXPECT_EQ(load_json({.requests_per_second = 1e300}), "{\"rps_fractional\":1000000000000000}");
}

TEST(Orca, AHostThatShedsIsFull) {
  EXPECT_DOUBLE_EQ(utilization({.cpu_utilization = 0.9, .shed_share = 0.5}), 2.0);
  EXPECT_DOUBLE_EQ(utilization({.cpu_utilization = 0.9, .in_flight = 1, .limit = 10}), 0.9);
  EXPECT_LT(utilization({}), 0.0);
}

}  // namespace
}  // namespace weir::adaptive
