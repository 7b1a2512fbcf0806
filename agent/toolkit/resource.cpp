#include "agent/toolkit/resource.h"

#include <algorithm>
#include <cstring>

#include "adaptive/breaker.h"
#include "shm/layout.h"
#include "shm/memory_order.h"

namespace weir::agent {

using namespace weir::shm;
using adaptive::BreakerState;

namespace {

// More than happens between two looks; what claims to be more is damage.
constexpr std::uint64_t kGrowthMax = 1'000'000'000;
// A threshold that no share reaches: the signal is not looked at.
constexpr std::int32_t kNever = 2000;
constexpr std::size_t kSecondCells = 10;

std::int32_t threshold(std::uint32_t permille) noexcept {
  return permille == 0 ? kNever : static_cast<std::int32_t>(permille);
}

adaptive::ShedderOptions shedder_options(const ShedConfig& config) {
  adaptive::ShedderOptions options;
  options.cpu_hot_permille = threshold(config.cpu_permille);
  options.pressure_hot_permille = threshold(config.psi_permille);
  options.throttled_hot_permille = threshold(config.throttled_permille);
  options.hold_ns = static_cast<adaptive::TimeNs>(config.hold_ns);
  options.limit_min = config.min;
  options.blind_limit = config.blind_limit;
  return options;
}

adaptive::BreakerPolicy breaker_policy(const BreakerConfig& config) {
  adaptive::BreakerPolicy policy;
  policy.window_ns = static_cast<adaptive::TimeNs>(config.window_ns);
  policy.volume_min = config.volume;
  policy.failed_permille = config.error_permille;
  policy.slow_permille = config.slow_permille;
  // Clients see failures in a row in their order, which sums do not show, and trip by themselves.
  policy.consecutive_failures = 0;
  policy.open_ns = static_cast<adaptive::TimeNs>(config.open_ns);
  policy.open_max_ns = static_cast<adaptive::TimeNs>(config.open_max_ns);
  policy.growth = config.growth_permille / 1000.0;
  policy.probe_ns = static_cast<adaptive::TimeNs>(config.probe_timeout_ns);
  policy.probes_needed = config.probes;
  policy.calm_ns = static_cast<adaptive::TimeNs>(config.calm_ns);
  return policy;
}

std::uint32_t tools_of(const ResourceConfig& config) noexcept {
  std::uint32_t tools = kToolActive;
  if (config.concurrency.present) tools |= kToolConcurrency;
  if (config.shed.kind != ShedKind::off) tools |= kToolShed;
  if (config.breaker.kind == BreakerKind::states) tools |= kToolBreaker;
  if (config.breaker.kind == BreakerKind::adaptive) tools |= kToolThrottle;
  if (config.retry.present) tools |= kToolRetry;
  return tools;
}

}  // namespace

Resource::Resource(const ToolkitView& view, std::uint32_t place, std::uint32_t generation)
    : view_(view), place_(place), generation_(generation) {
  ResponseTimes::clear(counter());
}

// The agent's own mapping is writable; the view is shared with clients, whose is not.
ResourceRule& Resource::rule() const { return const_cast<ResourceRule&>(view_.rule(place_)); }

void Resource::configure(const ResourceConfig& config, std::int64_t now_ns) {
  const bool fresh = !begun_;
  if (fresh || !(config.shed == config_.shed)) {
    shedder_.reset();
    gradient_.reset();
    if (config.shed.kind == ShedKind::bbr)
      shedder_ = std::make_unique<adaptive::Shedder>(shedder_options(config.shed));
    if (config.shed.kind == ShedKind::gradient) {
      adaptive::GradientOptions options;
      options.min = config.shed.min;
      options.max = config.shed.max;
      options.tolerance = config.shed.tolerance_permille / 1000.0;
      gradient_ = std::make_unique<adaptive::HostGradient>(options);
    }
    rule().shed_limits.store(0, kRelaxed);
    rule().shed_refusals.store(0, kRelaxed);
  }
  if (fresh || !(config.breaker == config_.breaker)) {
    counts_.reset();
    throttle_.reset();
    policy_ = breaker_policy(config.breaker);
    breaker_generation_ = adaptive::breaker_generation(counter().breaker.load(kRelaxed));
    if (config.breaker.kind == BreakerKind::states) {
      counts_ = std::make_unique<adaptive::BreakerCounts>(policy_);
      counts_->begin(now_ns, breaker_generation_);
      if (fresh) begin_story(now_ns);
    } else {
      forced_ = BreakerState::closed;
      story_ = {};
      rule().forced_state.store(0, kRelaxed);
    }
    if (config.breaker.kind == BreakerKind::adaptive) {
      adaptive::ThrottleOptions options;
      options.k = config.breaker.k_permille / 1000.0;
      options.window_ns = policy_.window_ns;
      options.volume_min = config.breaker.volume;
      options.probes_per_second = config.breaker.probes_per_s_milli / 1000.0;
      throttle_ = std::make_unique<adaptive::Throttle>(options);
    }
    rule().throttle_share.store(0, kRelaxed);
  }
  if (fresh || !(config.retry == config_.retry)) {
    retry_.reset();
    adaptive::RetryOptions options;
    options.share = config.retry.share_permille / 1000.0;
    options.floor_per_second = config.retry.floor_per_s_milli / 1000.0;
    options.ttl_ns = static_cast<adaptive::TimeNs>(config.retry.ttl_ns);
    if (config.retry.present) retry_ = std::make_unique<adaptive::RetryBudget>(options);
    retry_published_ = 0;
    counter().retry_tokens.store(0, kRelaxed);
  }
  config_ = config;
  if (fresh) totals_ = outcome_totals(view_, place_);
  begun_ = true;
  write_config();
}

void Resource::write_config() {
  ResourceRule& r = rule();
  write_concurrency();
  r.lease_ns.store(config_.concurrency.lease_ns, kRelaxed);

  const std::uint64_t version = r.config_version.load(kRelaxed);
  // release fence: whoever sees a word of what follows sees the odd version before it, too.
  r.config_version.store(version | 1, kRelaxed);
  std::atomic_thread_fence(std::memory_order_release);
  const BreakerConfig& b = config_.breaker;
  r.breaker_window_ns.store(b.window_ns, kRelaxed);
  r.breaker_volume_min.store(b.volume, kRelaxed);
  r.breaker_open_ns.store(b.open_ns, kRelaxed);
  r.breaker_open_max_ns.store(b.open_max_ns, kRelaxed);
  r.breaker_probe_ns.store(b.probe_timeout_ns, kRelaxed);
  r.breaker_calm_ns.store(b.calm_ns, kRelaxed);
  r.breaker_slow_ns.store(b.slow_call_ns, kRelaxed);
  r.breaker_failed_permille.store(b.error_permille, kRelaxed);
  r.breaker_slow_permille.store(b.slow_permille, kRelaxed);
  r.breaker_consecutive.store(b.consecutive, kRelaxed);
  r.breaker_probes_needed.store(b.probes, kRelaxed);
  r.breaker_growth_permille.store(b.growth_permille, kRelaxed);
  r.breaker_jitter_permille.store(static_cast<std::uint32_t>(policy_.jitter * 1000.0), kRelaxed);
  r.throttle_k_permille.store(b.k_permille, kRelaxed);
  r.retry_share_permille.store(config_.retry.share_permille, kRelaxed);
  r.retry_ttl_ns.store(config_.retry.ttl_ns, kRelaxed);
  r.retry_base_ns.store(config_.retry.backoff_ns, kRelaxed);
  r.retry_max_ns.store(config_.retry.backoff_max_ns, kRelaxed);
  r.retry_floor_milli.store(config_.retry.floor_per_s_milli, kRelaxed);
  r.retry_attempts_max.store(config_.retry.attempts, kRelaxed);
  const DeadlineConfig& deadline = config_.deadline;
  r.deadline_default_ns.store(deadline.present ? deadline.default_ns : 0, kRelaxed);
  r.deadline_max_ns.store(deadline.present ? deadline.max_ns : 0, kRelaxed);
  // release: the even version goes with all of the above.
  r.config_version.store((version | 1) + 1, std::memory_order_release);

  if (std::strncmp(r.name, config_.name.c_str(), kNameBytesMax) != 0) {
    std::memset(r.name, 0, sizeof(r.name));
    std::strncpy(r.name, config_.name.c_str(), kNameBytesMax);
  }
  // release: the name and the configuration are there before the resource is.
  r.hot.store(hot_word(generation_, tools_of(config_)), std::memory_order_release);
}

// seq_cst, as what clients do around it: one that raised the total before these stores is seen by
// the next look at the total, and one that raises it later looks at the limit again and sees them.
// In between a class may find less room than it should, and never more.
void Resource::write_concurrency() {
  ResourceRule& r = rule();
  const ConcurrencyConfig& concurrency = config_.concurrency;
  std::uint64_t limit = concurrency.present ? concurrency.max : 0;
  if (concurrency.present && concurrency.cluster) limit = permits_;
  // The word 0 says that there is no limit, so 'none' is one permit that every class leaves.
  const bool none = concurrency.present && limit == 0;
  const auto put_reserves = [&] {
    for (std::size_t i = 0; i < kClasses; ++i)
      r.class_reserve[i].store(none ? 1 : limit * concurrency.reserve_permille[i] / 1000);
  };
  const bool rises = limit > r.concurrency.load(kRelaxed);
  if (rises) put_reserves();
  r.concurrency.store(none ? 1 : limit);
  if (!rises) put_reserves();
}

void Resource::set_permits(std::uint64_t cap) {
  permits_ = std::min(cap, kPermitsMax);
  if (config_.concurrency.cluster) write_concurrency();
}

std::uint64_t Resource::in_flight() const {
  const std::int64_t total = counter().in_flight.load();
  return std::min<std::uint64_t>(static_cast<std::uint64_t>(std::max<std::int64_t>(0, total)),
                                 kPermitsMax);
}

void Resource::retire() { rule().hot.store(0, std::memory_order_release); }

void Resource::on_signal(std::int64_t now_ns, const adaptive::Signal& signal) {
  cpu_permille_ = signal.cpu_permille;
  if (shedder_) shedder_->on_signal(now_ns, signal);
}

void Resource::note_expired(std::uint64_t permits) {
  expired_total_ += permits;
  rule().expired_total.store(expired_total_, kRelaxed);
}

void Resource::note_reaped(std::uint64_t total) {
  reaped_total_ = total;
  rule().reaped_total.store(total, kRelaxed);
}

// What was counted since the last look. A total that ran backwards grew by nothing.
OutcomeTotals Resource::growth() {
  const OutcomeTotals now = outcome_totals(view_, place_);
  const auto grown = [this](std::uint64_t before, std::uint64_t after, std::uint64_t most) {
    const bool sane = after >= before && after - before <= most;
    if (!sane) ++forged_total_;
    return after < before ? 0 : std::min(after - before, most);
  };
  constexpr std::uint64_t kSumMax = UINT64_MAX / 4;
  OutcomeTotals g;
  g.succeeded = grown(totals_.succeeded, now.succeeded, kGrowthMax);
  g.succeeded_ns = grown(totals_.succeeded_ns, now.succeeded_ns, kSumMax);
  g.failed = grown(totals_.failed, now.failed, kGrowthMax);
  g.failed_ns = grown(totals_.failed_ns, now.failed_ns, kSumMax);
  g.slow = grown(totals_.slow, now.slow, kGrowthMax);
  g.full = grown(totals_.full, now.full, kGrowthMax);
  g.broken = grown(totals_.broken, now.broken, kGrowthMax);
  g.throttled = grown(totals_.throttled, now.throttled, kGrowthMax);
  for (std::size_t i = 0; i < kClasses; ++i) {
    g.asked[i] = grown(totals_.asked[i], now.asked[i], kGrowthMax);
    g.refused[i] = grown(totals_.refused[i], now.refused[i], kGrowthMax);
  }
  totals_ = now;
  return g;
}

bool Resource::tick(std::int64_t now_ns) {
  const OutcomeTotals grown = growth();
  const std::int64_t total = counter().in_flight.load(kRelaxed);
  const std::uint64_t in_flight = std::min<std::uint64_t>(
      static_cast<std::uint64_t>(std::max<std::int64_t>(0, total)), kPermitsMax);
  tick_figures(now_ns, grown, in_flight);
  tick_shed(now_ns, grown, in_flight);
  tick_breaker(now_ns, grown);
  tick_retry(now_ns, grown);
  std::uint64_t happened =
      in_flight + grown.succeeded + grown.failed + grown.full + grown.broken + grown.throttled;
  for (const std::uint64_t asked : grown.asked)
    happened += asked;
  return happened != 0;
}

void Resource::tick_shed(std::int64_t now_ns, const OutcomeTotals& grown, std::uint64_t in_flight) {
  if (!shedder_ && !gradient_) return;
  adaptive::ShedWords words;
  if (shedder_) {
    adaptive::Traffic traffic{.succeeded = grown.succeeded,
                              .succeeded_ns = grown.succeeded_ns,
                              .failed = grown.failed,
                              .failed_ns = grown.failed_ns,
                              .in_flight = in_flight};
    for (std::size_t i = 0; i < kClasses; ++i) {
      traffic.asked[i] = grown.asked[i];
      traffic.refused[i] = grown.refused[i];
    }
    shedder_->on_traffic(now_ns, traffic);
    words = shedder_->words();
    const adaptive::Shedder::View seen = shedder_->view();
    figures_.limit = seen.shedding ? seen.limit : 0.0;
    figures_.shedding = seen.shedding;
    figures_.blind = seen.blind;
    figures_.baseline_ns = seen.baseline_ns;
  } else {
    std::uint64_t refused = 0;
    for (const std::uint64_t each : grown.refused)
      refused += each;
    gradient_->on_traffic(now_ns, {.succeeded = grown.succeeded,
                                   .succeeded_ns = grown.succeeded_ns,
                                   .failed = grown.failed,
                                   .refused = refused,
                                   .in_flight_max = in_flight});
    figures_.limit = gradient_->limit();
    figures_.baseline_ns = gradient_->baseline_ns();
    figures_.shedding = refused > 0;
    // What so many in flight can come to, by Little's law.
    adaptive::ClassDemand demand;
    if (figures_.response_ns > 0.0)
      demand.capacity_per_second = figures_.limit * 1e9 / figures_.response_ns;
    for (std::size_t i = 0; i < kClasses; ++i)
      demand.asked_per_second[i] =
          adaptive::newest_sum(window_, kSecondCells, [i](const Cell& c) { return c.by_class[i]; });
    words = demand.capacity_per_second > 0.0
                ? adaptive::plan_classes(figures_.limit, demand)
                : adaptive::fixed_words(static_cast<std::uint32_t>(figures_.limit));
  }
  ResourceRule& r = rule();
  r.shed_limits.store(words.limits, kRelaxed);
  r.shed_refusals.store(words.refusals, kRelaxed);
  r.shed_mono_ns.store(now_ns, std::memory_order_release);
}

void Resource::tick_breaker(std::int64_t now_ns, const OutcomeTotals& grown) {
  if (throttle_) {
    throttle_->add(now_ns, grown.succeeded + grown.failed + grown.throttled, grown.succeeded);
    rule().throttle_share.store(throttle_->refused_share(now_ns), kRelaxed);
  }
  if (!counts_) return;
  if (forced_until_ns_ != 0 && now_ns >= forced_until_ns_) {
    forced_until_ns_ = 0;
    forced_ = BreakerState::closed;
    rule().forced_state.store(0, kRelaxed);
  }
  A64& shared = counter().breaker;
  std::uint64_t word = shared.load(std::memory_order_acquire);
  const auto found = adaptive::breaker_fields(word).state;
  const bool is_forced = found == BreakerState::forced_open || found == BreakerState::forced_closed;
  // Nobody but the operator forces, whatever stands in a word that every client can write.
  if (forced_ != BreakerState::closed ? found != forced_ : is_forced) {
    const std::uint64_t next = adaptive::breaker_force(word, forced_, now_ns);
    if (shared.compare_exchange_strong(word, next, std::memory_order_acq_rel)) word = next;
  }
  const std::uint32_t generation = adaptive::breaker_generation(word);
  if (generation != breaker_generation_) {
    breaker_generation_ = generation;
    counts_->begin(now_ns, generation);
  } else {
    counts_->add(now_ns, generation,
                 {.succeeded = grown.succeeded,
                  .failed = grown.failed,
                  .slow = std::min(grown.slow, grown.succeeded + grown.failed),
                  .consecutive_failures = 0});
  }
  adaptive::TripReason tripped = adaptive::TripReason::none;
  if (const auto reason = counts_->should_trip(now_ns); reason != adaptive::TripReason::none) {
    const double chance = adaptive::spread(++draws_) / 65'536.0;
    const std::uint64_t next = adaptive::breaker_trip(word, generation, now_ns, chance, policy_);
    if (next != word && shared.compare_exchange_strong(word, next, std::memory_order_acq_rel)) {
      ++trips_total_;
      word = next;
      tripped = reason;
    }
  }
  note_breaker(now_ns, word, tripped);
  rule().breaker_state.store(static_cast<std::uint32_t>(adaptive::breaker_fields(word).state),
                             kRelaxed);
}

// What an earlier agent left is as old as this one.
void Resource::begin_story(std::int64_t now_ns) {
  story_ = {};
  story_.state = breaker_state();
  story_generation_ = breaker_generation_;
  story_.since_ns = now_ns;
  if (story_.state != BreakerState::closed) story_.reason = "so since before this agent started";
}

// Clients change the word as well, and say not why: it follows from the state before.
void Resource::note_breaker(std::int64_t now_ns, std::uint64_t word, adaptive::TripReason tripped) {
  const adaptive::BreakerFields fields = adaptive::breaker_fields(word);
  const BreakerState before = story_.state;
  const bool timed = fields.state == BreakerState::open || fields.state == BreakerState::probing;
  story_.due_ns =
      timed ? now_ns + adaptive::breaker_ask(word, now_ns, 0, policy_).retry_after_ns : 0;
  const bool anew = fields.generation != story_generation_;
  if (fields.state == before && !anew) return;
  story_generation_ = fields.generation;
  story_.state = fields.state;
  story_.since_ns = now_ns;
  switch (fields.state) {
    case BreakerState::forced_open:
    case BreakerState::forced_closed:
      story_.reason = "an operator forced it";
      break;
    case BreakerState::probing:
      story_.reason = "one call is under way as the probe";
      break;
    case BreakerState::closed:
      story_.reason = before == BreakerState::closed ? story_.reason
                      : before == BreakerState::forced_open || before == BreakerState::forced_closed
                          ? "the operator let go"
                          : "the probe went well";
      break;
    case BreakerState::open:
      if (anew) ++story_.opened_total;
      if (tripped == adaptive::TripReason::failed_share)
        story_.reason = "too large a share of the calls failed";
      else if (tripped == adaptive::TripReason::slow_share)
        story_.reason = "too large a share of the calls was slow";
      else if (fields.good_probes > 0)
        story_.reason = "a probe went well, and more are wanted";
      else if (before == BreakerState::probing)
        story_.reason = anew ? "the probe failed" : "the prober is gone; the next call probes";
      else
        story_.reason = "too many failures in a row";
      break;
  }
}

void Resource::tick_retry(std::int64_t now_ns, const OutcomeTotals& grown) {
  if (!retry_) return;
  std::uint64_t asked = 0;
  for (const std::uint64_t each : grown.asked)
    asked += each;
  retry_->on_requests(now_ns, asked);
  A64& tokens = counter().retry_tokens;
  std::uint64_t left = tokens.load(kRelaxed);
  if (left > retry_published_) ++forged_total_;
  retry_->on_retries(now_ns, adaptive::sat_sub(retry_published_, left));
  const std::uint64_t level = retry_->level(now_ns);
  // Who loses the race to a client's withdrawal sees it at the next look.
  if (tokens.compare_exchange_strong(left, level)) {
    retry_published_ = level;
  } else {
    retry_published_ = std::min(retry_published_, left);
  }
  rule().retry_level.store(level, kRelaxed);
}

void Resource::tick_figures(std::int64_t now_ns, const OutcomeTotals& grown,
                            std::uint64_t in_flight) {
  Cell& cell = window_.at(now_ns);
  for (std::size_t i = 0; i < kClasses; ++i) {
    const auto asked = static_cast<double>(grown.asked[i]);
    cell.by_class[i] += asked;
    cell.asked += asked;
    cell.shed += static_cast<double>(grown.refused[i]);
    cell.shed_by_class[i] += static_cast<double>(grown.refused[i]);
  }
  cell.succeeded += static_cast<double>(grown.succeeded);
  cell.succeeded_ns += static_cast<double>(grown.succeeded_ns);
  cell.failed += static_cast<double>(grown.failed);
  cell.refused += static_cast<double>(grown.full + grown.broken + grown.throttled);
  const auto sum = [this](double Cell::*field) {
    return adaptive::newest_sum(window_, kSecondCells, [field](const Cell& c) { return c.*field; });
  };
  const double succeeded = sum(&Cell::succeeded);
  const double shed = sum(&Cell::shed);
  figures_.in_flight = in_flight;
  figures_.asked_per_s = sum(&Cell::asked);
  figures_.succeeded_per_s = succeeded;
  figures_.failed_per_s = sum(&Cell::failed);
  figures_.refused_per_s = sum(&Cell::refused) + shed;
  figures_.shed_share =
      figures_.asked_per_s > 0.0 ? std::min(1.0, shed / figures_.asked_per_s) : 0.0;
  for (std::size_t i = 0; i < kClasses; ++i) {
    const auto of_class = [this, i](auto Cell::*field) {
      return adaptive::newest_sum(window_, kSecondCells,
                                  [field, i](const Cell& c) { return (c.*field)[i]; });
    };
    const double asked = of_class(&Cell::by_class);
    figures_.class_asked_per_s[i] = asked;
    figures_.class_shed_share[i] =
        asked > 0.0 ? std::min(1.0, of_class(&Cell::shed_by_class) / asked) : 0.0;
  }
  figures_.response_ns = succeeded > 0.0 ? sum(&Cell::succeeded_ns) / succeeded : 0.0;
  if (grown.succeeded != 0 && !responses_) responses_ = std::make_unique<ResponseTimes>();
  if (responses_) {
    responses_->look(counter(), now_ns, grown.succeeded != 0);
    figures_.response = responses_->quantiles();
  }
  ResourceRule& r = rule();
  const auto whole = [](double value) {
    return static_cast<std::uint64_t>(adaptive::within(value, 0.0, 1e18, 0.0));
  };
  r.in_flight.store(in_flight, kRelaxed);
  r.requests_per_s_milli.store(whole(figures_.asked_per_s * 1000.0), kRelaxed);
  r.errors_per_s_milli.store(whole(figures_.failed_per_s * 1000.0), kRelaxed);
  r.response_ns.store(whole(figures_.response_ns), kRelaxed);
  r.shed_permille.store(static_cast<std::uint32_t>(figures_.shed_share * 1000.0), kRelaxed);
  r.forged_total.store(forged_total_, kRelaxed);
  r.figures_mono_ns.store(now_ns, std::memory_order_release);
}

void Resource::force(BreakerState state, std::int64_t now_ns, std::int64_t until_ns) {
  forced_ = state;
  forced_until_ns_ = state == BreakerState::closed ? 0 : until_ns;
  rule().forced_state.store(state == BreakerState::closed ? 0 : static_cast<std::uint32_t>(state),
                            kRelaxed);
  tick_breaker(now_ns, {});
}

BreakerState Resource::breaker_state() const {
  return adaptive::breaker_fields(counter().breaker.load(kRelaxed)).state;
}
std::uint64_t Resource::uncounted_total() const { return counter().uncounted_total.load(kRelaxed); }
std::uint32_t Resource::throttle_share() const { return rule().throttle_share.load(kRelaxed); }
std::uint64_t Resource::retry_level() const { return rule().retry_level.load(kRelaxed); }

}  // namespace weir::agent
