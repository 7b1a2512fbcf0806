// Retries: how many a host may make, and when.
//
// The budget is Finagle's: every request deposits, every retry withdraws, deposits expire. It is
// one for the host: the agent sums the requests of all processes, publishes what is left as a word
// that clients take from, and a floor of one retry a second stays one whatever the number of
// processes. The wait is 'full jitter' (Brooker, "Exponential Backoff And Jitter", 2015).
#pragma once

#include <cstdint>

#include "adaptive/units.h"
#include "adaptive/window.h"

namespace weir::adaptive {

struct RetryOptions {
  double share = 0.1;              // retries a request; at most 1000
  double floor_per_second = 1.0;   // of the whole host
  TimeNs ttl_ns = 10 * kSecond;    // deposits live as long as this
  std::uint32_t attempts_max = 3;  // of one request, the first one included
  TimeNs backoff_base_ns = 25 * kMs;
  TimeNs backoff_max_ns = 10 * kSecond;
};

class RetryBudget {
 public:
  explicit RetryBudget(const RetryOptions& options = {}) noexcept;

  // First tries. Retries do not deposit: else a storm would feed itself.
  void on_requests(TimeNs now_ns, std::uint64_t count) noexcept;
  // Takes one retry, if there is one.
  bool try_retry(TimeNs now_ns) noexcept;
  // What the clients took out of the published word since the last call, also if it was too much.
  void on_retries(TimeNs now_ns, std::uint64_t count) noexcept;
  // Whole retries that are left: what the agent publishes.
  std::uint64_t level(TimeNs now_ns) noexcept;

 private:
  static constexpr std::size_t kCells = 11;
  struct Cell {
    double requests = 0.0;
    double retries = 0.0;
  };
  double balance(TimeNs now_ns) noexcept;

  RetryOptions options_;
  Window<Cell, kCells> window_;
};

// What a result says about trying again. `overloaded` goes up through all layers unchanged: if each
// of four layers tried three times, one request would become 81.
enum class RetryHint : std::uint8_t { may_help, useless, overloaded };

enum class RetryVerdict : std::uint8_t {
  retry,
  not_retriable,
  overloaded,  // pass it on, with the same hint
  attempts_used,
  no_time,
  no_budget,
};

struct RetryAsk {
  RetryHint hint = RetryHint::may_help;
  std::uint32_t attempts_made = 1;
  TimeNs remaining_ns = kNever;  // until the caller's deadline
  TimeNs expected_ns = 0;        // what an attempt usually takes
  std::uint64_t draw = 0;        // any random number
  TimeNs retry_after_ns = 0;     // what the other end asked for; 0: nothing
};

struct RetryPlan {
  RetryVerdict verdict = RetryVerdict::not_retriable;
  TimeNs wait_ns = 0;
};

// Everything but the budget, which is asked last, so that nothing is taken for a retry that cannot
// be made; and before the wait, since retries that wait were never counted otherwise.
RetryPlan plan_retry(const RetryAsk& ask, const RetryOptions& options) noexcept;

// Evenly in 0..min(max, base * 2^retry).
TimeNs full_jitter_ns(std::uint32_t retry, std::uint64_t draw, TimeNs base_ns,
                      TimeNs max_ns) noexcept;

namespace published {

// gRPC's retryThrottling.
class GrpcThrottle {
 public:
  GrpcThrottle(double max, double ratio) noexcept : max_(max), ratio_(ratio), tokens_(max) {}
  void failed() noexcept { tokens_ = std::max(0.0, tokens_ - 1.0); }
  void succeeded() noexcept { tokens_ = std::min(max_, tokens_ + ratio_); }
  bool may_retry() const noexcept { return tokens_ > max_ / 2.0; }
  double tokens() const noexcept { return tokens_; }

 private:
  double max_;
  double ratio_;
  double tokens_;
};

// failsafe-go: of what is under way at this moment.
bool failsafe_refuses_retry(double retries, double executions, double max_share = 0.2,
                            double min = 3.0) noexcept;
// Envoy: the share of what is active or pending, at least `min`.
double envoy_retries_max(double share, double active, double min = 3.0) noexcept;

}  // namespace published

}  // namespace weir::adaptive
