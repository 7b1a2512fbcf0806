#include "agent/upstream/terms.h"

#include <algorithm>

#include "shm/layout.h"

namespace weir::agent {

using namespace weir::shm;

namespace {

std::uint64_t whole(lease::Micro amount) noexcept {
  return amount <= 0 ? 0 : std::min(static_cast<std::uint64_t>(amount / lease::kToken), kBurstMax);
}

std::uint64_t rate_of(lease::Micro rate) noexcept {
  return rate <= 0 ? 0 : static_cast<std::uint64_t>(rate);
}

// A lease that was never given has times of 0, and nothing is owed to them.
std::int64_t to_mono(std::int64_t boot_ns, const TermsContext& context) noexcept {
  if (boot_ns <= 0 || boot_ns >= lease::kNever) return boot_ns <= 0 ? 0 : lease::kNever;
  return boot_ns + context.mono_minus_boot_ns;
}

// What follows the tail. A fallback of nothing is a rate of nothing: its tokens go, too, since the
// server may have given their room to others.
void set_safe(LimitTerms& terms, const LimitRule& rule, std::uint32_t hosts) noexcept {
  terms.fallback = rule.fallback.mode == Fallback::open ? Fallback::open : Fallback::local;
  if (rule.fallback.mode != Fallback::local) {
    terms.safe_period_ns = kLeasePeriodNs;
    return;
  }
  const LocalRate local = local_rate(rule, hosts);
  terms.safe_amount = local.amount;
  terms.safe_period_ns = local.period_ns;
  terms.safe_burst = local.burst;
}

}  // namespace

LocalRate local_rate(const LimitRule& rule, std::uint32_t hosts) noexcept {
  const FallbackRule& fallback = rule.fallback;
  LocalRate rate{fallback.amount, std::max<std::uint64_t>(fallback.period_ns, 1), fallback.burst};
  if (rule.fallback.mode == Fallback::closed) return {0, 1, 0};
  // The whole of a limit that each live host has once is what a host has.
  if (!fallback.divided || rule.cluster.threshold == LimitThreshold::per_host) return rate;
  const std::uint64_t parts = std::max(hosts, 1U);
  if (rate.period_ns <= UINT64_MAX / 2 / parts)
    rate.period_ns *= parts;  // exact, where a quotient of the amount would be rounded
  else
    rate.amount /= parts;
  rate.burst = std::max<std::uint64_t>(rate.burst / parts, 1);
  return rate;
}

LimitTerms lease_terms(const LimitRule& rule, const lease::LeaseView& view,
                       const TermsContext& context) noexcept {
  LimitTerms terms;
  terms.algorithm = Algorithm::token_bucket;
  terms.period_ns = terms.tail_period_ns = kLeasePeriodNs;
  terms.tail_burst = 0;
  set_safe(terms, rule, view.hosts != 0 ? view.hosts : context.hosts);
  if (context.fallback && rule.fallback.mode == Fallback::open) {
    // Clients that find the agent alive take tokens; those that do not know that all may pass.
    terms.amount = terms.burst = kBurstMax;
    terms.period_ns = kOpenPeriodNs;
    terms.lease_end_mono_ns = terms.tail_end_mono_ns = lease::kNever;
    return terms;
  }
  if (context.fallback) {
    terms.burst = terms.safe_burst;  // lease and tail lie in the past
    return terms;
  }
  switch (view.state) {
    case lease::LeaseState::live:
      terms.amount = rate_of(view.rate);
      terms.burst = whole(view.burst);
      terms.lease_end_mono_ns = to_mono(view.end_ns, context);
      [[fallthrough]];
    case lease::LeaseState::tail:
      terms.tail_amount = rate_of(view.tail_rate);
      terms.tail_burst = whole(view.tail_burst);
      terms.tail_end_mono_ns = to_mono(view.tail_end_ns, context);
      if (view.state == lease::LeaseState::tail) terms.burst = terms.tail_burst;
      break;
    case lease::LeaseState::ended:
    case lease::LeaseState::none:
      // Nothing until then. Written down now, because this process may not live to say so.
      terms.tail_end_mono_ns =
          to_mono(std::max(view.tail_end_ns, context.fallback_from_boot_ns), context);
      break;
  }
  return terms;
}

}  // namespace weir::agent
