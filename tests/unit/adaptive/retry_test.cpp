#include "adaptive/retry.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

namespace weir::adaptive {
namespace {

// Finagle, RetryBudgetTest: 10,000 requests within the ttl.
TEST(RetryBudget, FinagleVectors) {
  for (const double share : {0.0001, 0.001, 0.01, 0.1, 0.2, 0.5, 0.99, 1.0, 2.0}) {
    for (const double floor : {0.0, 10.0}) {
      RetryBudget budget({.share = share, .floor_per_second = floor, .ttl_ns = 60 * kSecond});
      EXPECT_EQ(budget.level(0), static_cast<std::uint64_t>(floor * 60));
      for (int i = 0; i < 10'000; ++i)
        budget.on_requests(i * kMs, 1);
      int retries = 0;
      while (budget.try_retry(10 * kSecond))
        ++retries;
      EXPECT_NEAR(retries, std::floor(10'000 * share) + floor * 60, 1.0) << share;
    }
  }
}

TEST(RetryBudget, DepositsExpire) {
  RetryBudget budget({.share = 0.1, .floor_per_second = 0.0});
  budget.on_requests(0, 1000);
  EXPECT_EQ(budget.level(9 * kSecond), 100U);
  EXPECT_EQ(budget.level(12 * kSecond), 0U);
}

TEST(RetryBudget, TheFloorIsOfTheHostAndStaysSmall) {
  RetryBudget budget;
  int retries = 0;
  for (TimeNs now_ns = 0; now_ns < 10 * kSecond; now_ns += 100 * kMs)
    for (int process = 0; process < 32; ++process)
      if (budget.try_retry(now_ns)) ++retries;
  EXPECT_LE(retries, 20);
}

TEST(RetryBudget, WhatClientsTookTooMuchOfIsOwed) {
  RetryBudget budget({.share = 0.1, .floor_per_second = 0.0});
  budget.on_requests(0, 100);
  budget.on_retries(0, 1000);
  EXPECT_EQ(budget.level(0), 0U);
  EXPECT_FALSE(budget.try_retry(0));
  budget.on_retries(0, UINT64_MAX);
  EXPECT_EQ(budget.level(0), 0U);
}

TEST(RetryBudget, NonsenseIsCut) {
  RetryBudget budget({.share = std::nan(""), .floor_per_second = -5, .ttl_ns = INT64_MAX});
  budget.on_requests(INT64_MIN, UINT64_MAX);
  budget.on_requests(INT64_MAX, 100);
  EXPECT_EQ(budget.level(INT64_MAX), 10U);
}

TEST(FullJitter, IsEvenlySpreadBelowADoublingBound) {
  for (std::uint32_t retry = 0; retry < 5; ++retry) {
    const TimeNs top_ns = 25 * kMs << retry;
    double sum = 0.0;
    for (std::uint64_t i = 0; i < 1000; ++i) {
      const TimeNs wait_ns = full_jitter_ns(retry, i * 0x9e3779b97f4a7c15ULL, 25 * kMs, kSecond);
      EXPECT_GE(wait_ns, 0);
      EXPECT_LE(wait_ns, top_ns);
      sum += static_cast<double>(wait_ns);
    }
    EXPECT_NEAR(sum / 1000.0, static_cast<double>(top_ns) / 2.0,
                static_cast<double>(top_ns) / 20.0);
  }
  EXPECT_LE(full_jitter_ns(UINT32_MAX, UINT64_MAX, 25 * kMs, kSecond), kSecond);
  EXPECT_EQ(full_jitter_ns(3, 77, -5, -5), 0);
  EXPECT_GE(full_jitter_ns(80, UINT64_MAX, INT64_MAX, INT64_MAX), 0);
}

TEST(RetryPlan, SaysWhyNot) {
  const RetryOptions options;
  EXPECT_EQ(plan_retry({.hint = RetryHint::overloaded}, options).verdict, RetryVerdict::overloaded);
  EXPECT_EQ(plan_retry({.hint = RetryHint::useless}, options).verdict, RetryVerdict::not_retriable);
  EXPECT_EQ(plan_retry({.attempts_made = 3}, options).verdict, RetryVerdict::attempts_used);
  EXPECT_EQ(plan_retry({.remaining_ns = 10 * kMs, .expected_ns = 10 * kMs}, options).verdict,
            RetryVerdict::no_time);
  EXPECT_EQ(plan_retry({.remaining_ns = kSecond, .retry_after_ns = 2 * kSecond}, options).verdict,
            RetryVerdict::no_time);
  const RetryPlan plan = plan_retry({.draw = 77, .retry_after_ns = kSecond}, options);
  EXPECT_EQ(plan.verdict, RetryVerdict::retry);
  EXPECT_GE(plan.wait_ns, kSecond);
  EXPECT_LE(plan.wait_ns, kSecond + 25 * kMs);
}

// Four layers of three attempts each: with the hint passed on there are three, not 81.
TEST(RetryPlan, OverloadIsNotRetriedAtTheLayersAbove) {
  int attempts = 0;
  const auto layer = [&attempts](auto&& self, int depth) -> RetryHint {
    if (depth == 0) return ++attempts, RetryHint::overloaded;
    for (std::uint32_t made = 1;; ++made) {
      const RetryHint hint = self(self, depth - 1);
      if (plan_retry({.hint = hint, .attempts_made = made}, {}).verdict != RetryVerdict::retry)
        return hint;
    }
  };
  EXPECT_EQ(layer(layer, 4), RetryHint::overloaded);
  EXPECT_EQ(attempts, 1);
}

// gRPC, retry_throttle_test: 10 tokens, half a token for a success.
TEST(PublishedRetry, Grpc) {
  published::GrpcThrottle throttle(10, 0.5);
  EXPECT_EQ(throttle.tokens(), 10.0);
  const auto fail = [&](double wanted) {
    throttle.failed();
    EXPECT_EQ(throttle.tokens(), wanted);
  };
  const auto good = [&](double wanted) {
    throttle.succeeded();
    EXPECT_EQ(throttle.tokens(), wanted);
  };
  fail(9), fail(8), good(8.5), fail(7.5), fail(6.5), fail(5.5), good(6);
  EXPECT_TRUE(throttle.may_retry());
  fail(5);
  EXPECT_FALSE(throttle.may_retry());
  fail(4), good(4.5), good(5), good(5.5), good(6), good(6.5), fail(5.5), fail(4.5);
  EXPECT_FALSE(throttle.may_retry());
}

// failsafe-go, budget_test.go; Envoy, resource_manager_impl.h.
TEST(PublishedRetry, ConcurrencyForms) {
  EXPECT_FALSE(published::failsafe_refuses_retry(1, 2, 0.5, 1));
  EXPECT_TRUE(published::failsafe_refuses_retry(2, 2, 0.5, 1));
  EXPECT_EQ(published::envoy_retries_max(0.2, 100), 20.0);
  EXPECT_EQ(published::envoy_retries_max(0.2, 5), 3.0);
}

}  // namespace
}  // namespace weir::adaptive
