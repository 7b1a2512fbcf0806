#include "adaptive/retry.h"

#include <algorithm>
#include <cmath>

namespace weir::adaptive {
namespace {

constexpr std::uint64_t kRetriesMax = 1'000'000'000'000;
// Shares such as 0.1 have no exact double: a sum that misses a whole number by less is that number.
constexpr double kRounding = 1e-6;

}  // namespace

RetryBudget::RetryBudget(const RetryOptions& options) noexcept
    : options_(options), window_(std::clamp<TimeNs>(options.ttl_ns, kSecond, 60 * kSecond) / 10) {
  options_.share = within(options.share, 0.0, 1000.0, 0.1);
  options_.floor_per_second = within(options.floor_per_second, 0.0, 1e6, 0.0);
}

void RetryBudget::on_requests(TimeNs now_ns, std::uint64_t count) noexcept {
  window_.at(now_ns).requests += static_cast<double>(std::min(count, kRetriesMax));
}

void RetryBudget::on_retries(TimeNs now_ns, std::uint64_t count) noexcept {
  window_.at(now_ns).retries += static_cast<double>(std::min(count, kRetriesMax));
}

bool RetryBudget::try_retry(TimeNs now_ns) noexcept {
  if (balance(now_ns) < 1.0) return false;
  on_retries(now_ns, 1);
  return true;
}

std::uint64_t RetryBudget::level(TimeNs now_ns) noexcept {
  return static_cast<std::uint64_t>(std::max(0.0, balance(now_ns)));
}

double RetryBudget::balance(TimeNs now_ns) noexcept {
  Cell sum = window_.at(now_ns);
  window_.each_complete([&sum](const Cell& cell) {
    sum.requests += cell.requests;
    sum.retries += cell.retries;
  });
  const double ttl = seconds(window_.cell_ns()) * 10.0;
  return sum.requests * options_.share + options_.floor_per_second * ttl - sum.retries + kRounding;
}

TimeNs full_jitter_ns(std::uint32_t retry, std::uint64_t draw, TimeNs base_ns,
                      TimeNs max_ns) noexcept {
  max_ns = std::clamp<TimeNs>(max_ns, 0, 24 * 3600 * kSecond);
  TimeNs top_ns = std::clamp<TimeNs>(base_ns, 0, max_ns);
  for (std::uint32_t i = 0; i < retry && top_ns < max_ns && top_ns > 0 && i < 64; ++i)
    top_ns = std::min(max_ns, top_ns * 2);
  return static_cast<TimeNs>(draw % (static_cast<std::uint64_t>(top_ns) + 1));
}

RetryPlan plan_retry(const RetryAsk& ask, const RetryOptions& options) noexcept {
  if (ask.hint == RetryHint::overloaded) return {RetryVerdict::overloaded, 0};
  if (ask.hint == RetryHint::useless) return {RetryVerdict::not_retriable, 0};
  if (ask.attempts_made >= options.attempts_max) return {RetryVerdict::attempts_used, 0};
  const std::uint32_t retry = ask.attempts_made == 0 ? 0 : ask.attempts_made - 1;
  const TimeNs jitter_ns =
      full_jitter_ns(retry, ask.draw, options.backoff_base_ns, options.backoff_max_ns);
  const TimeNs asked_ns = std::clamp<TimeNs>(ask.retry_after_ns, 0, kNever / 2);
  // Not before the time that the other end named, and not all at that same moment.
  const TimeNs wait_ns = asked_ns + jitter_ns;
  const TimeNs needed_ns = wait_ns + std::clamp<TimeNs>(ask.expected_ns, 0, kNever / 4);
  if (needed_ns >= ask.remaining_ns) return {RetryVerdict::no_time, 0};
  return {RetryVerdict::retry, wait_ns};
}

namespace published {

bool failsafe_refuses_retry(double retries, double executions, double max_share,
                            double min) noexcept {
  return retries >= min && retries / std::max(1.0, executions) > max_share;
}

double envoy_retries_max(double share, double active, double min) noexcept {
  return std::max(share * active, min);
}

}  // namespace published

}  // namespace weir::adaptive
