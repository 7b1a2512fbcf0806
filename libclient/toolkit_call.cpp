// Breakers, outcomes and retries. The breaker's word is shared by the host and every change of it
// is a pure function of adaptive/breaker.h, stored by compare-and-swap.
#include "adaptive/breaker.h"
#include "adaptive/breaker_counts.h"
#include "adaptive/retry.h"
#include "libclient/toolkit.h"

using namespace weir::client;
using namespace weir::shm;
namespace adaptive = weir::adaptive;

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr int kAttemptsMax = 16;
constexpr std::int64_t kDayNs = 24LL * 3600 * 1'000'000'000;

constexpr std::uint64_t kCounted = 1;  // of a resource that an agent knows
constexpr std::uint64_t kProbe = 2;

struct Call {
  weir_resource* resource;
  std::int64_t begun_own_ns;
  std::uint64_t binding;
  std::uint32_t generation;
  std::uint32_t owner;
  std::uint64_t flags;
};
static_assert(sizeof(Call) <= sizeof(weir_call));

std::int64_t span(std::uint64_t ns) noexcept {
  return static_cast<std::int64_t>(std::min<std::uint64_t>(ns, kDayNs));
}

// A policy of mixed words does no harm, since each is clamped where it is used; but a reader that
// meets a writer tries again.
template <class Read>
void read_whole(const ResourceRule& rule, Read&& read) noexcept {
  for (int i = 0; i < kAttemptsMax; ++i) {
    const std::uint64_t version = rule.config_version.load(std::memory_order_acquire);
    read();
    // The words are read before the version is read again.
    std::atomic_thread_fence(std::memory_order_acquire);
    if ((version & 1) == 0 && rule.config_version.load(kRelaxed) == version) return;
  }
}

adaptive::BreakerPolicy policy_of(const ResourceRule& rule) noexcept {
  adaptive::BreakerPolicy policy;
  read_whole(rule, [&rule, &policy] {
    policy = {};
    const auto time = [](const A64& word, adaptive::TimeNs& field) {
      if (const std::uint64_t ns = word.load(kRelaxed); ns != 0) field = span(ns);
    };
    time(rule.breaker_window_ns, policy.window_ns);
    time(rule.breaker_open_ns, policy.open_ns);
    time(rule.breaker_open_max_ns, policy.open_max_ns);
    time(rule.breaker_probe_ns, policy.probe_ns);
    time(rule.breaker_calm_ns, policy.calm_ns);
    policy.volume_min = rule.breaker_volume_min.load(kRelaxed);
    policy.failed_permille = rule.breaker_failed_permille.load(kRelaxed);
    policy.slow_permille = rule.breaker_slow_permille.load(kRelaxed);
    policy.consecutive_failures = rule.breaker_consecutive.load(kRelaxed);
    if (const std::uint32_t n = rule.breaker_probes_needed.load(kRelaxed); n != 0)
      policy.probes_needed = n;
    if (const std::uint32_t n = rule.breaker_growth_permille.load(kRelaxed); n != 0)
      policy.growth = n / 1000.0;
    if (const std::uint32_t n = rule.breaker_jitter_permille.load(kRelaxed); n != 0)
      policy.jitter = n / 1000.0;
  });
  return policy;
}

adaptive::RetryOptions retry_of(const ResourceRule& rule) noexcept {
  adaptive::RetryOptions options;
  read_whole(rule, [&rule, &options] {
    options = {};
    if (const std::uint32_t n = rule.retry_share_permille.load(kRelaxed); n != 0)
      options.share = n / 1000.0;
    if (const std::uint32_t n = rule.retry_floor_milli.load(kRelaxed); n != 0)
      options.floor_per_second = n / 1000.0;
    if (const std::uint32_t n = rule.retry_attempts_max.load(kRelaxed); n != 0)
      options.attempts_max = n;
    if (const std::uint64_t n = rule.retry_base_ns.load(kRelaxed); n != 0)
      options.backoff_base_ns = span(n);
    if (const std::uint64_t n = rule.retry_max_ns.load(kRelaxed); n != 0)
      options.backoff_max_ns = span(n);
  });
  return options;
}

double chance() noexcept { return draw() / 65'536.0; }

// The prober's number: that of the process's slot, so that its death is noticed; else one that
// nobody has, and the probe's deadline alone ends it.
std::uint32_t prober(const weir_resource& resource) noexcept {
  const std::int32_t slot = resource.client->process_slot;
  return slot < 0 ? adaptive::kBreakerOwnerMax : static_cast<std::uint32_t>(slot) + 1;
}

// Is this word refusing, as far as the agent's coarse clock tells? No clock is read.
bool surely_refuses(std::uint64_t word, std::int64_t coarse_ns, std::uint64_t* left_ns) noexcept {
  constexpr std::uint32_t kLongestUnits = 36U * 3600 * 125;  // beyond every policy: damage
  if ((word & 7U) == 3) {
    if (left_ns != nullptr) *left_ns = static_cast<std::uint64_t>(adaptive::kSecond);
    return true;
  }
  const auto now = static_cast<std::uint32_t>(coarse_ns / adaptive::kBreakerUnitNs);
  const auto left = static_cast<std::int32_t>(static_cast<std::uint32_t>(word >> 32) - now);
  if (left <= 0 || static_cast<std::uint32_t>(left) > kLongestUnits) return false;
  if (left_ns != nullptr) *left_ns = static_cast<std::uint64_t>(left) * adaptive::kBreakerUnitNs;
  return true;
}

weir_status broken(weir_resource& resource) noexcept {
  count(resource, resource.lanes.load(kRelaxed)->broken, 1);
  return WEIR_DENY_OPEN;
}

// The word's time may be up: by the exact clock, and one probe for the host.
weir_status ask(weir_resource& resource, Call& call, std::uint64_t* retry_after_ns) noexcept {
  A64& breaker = resource.counter.load(kRelaxed)->breaker;
  const adaptive::BreakerPolicy policy = policy_of(*resource.rule.load(kRelaxed));
  std::uint64_t word = breaker.load(std::memory_order_acquire);
  // A prober that the reaper can find.
  if (resource.client->process_slot < 0) (void)take_cell(resource, kCrowd);
  for (int i = 0; i < kAttemptsMax; ++i) {
    const adaptive::BreakerStep step =
        adaptive::breaker_ask(word, now_of(resource), prober(resource), policy);
    if (step.verdict == adaptive::BreakerVerdict::refuse) {
      if (retry_after_ns != nullptr)
        *retry_after_ns = static_cast<std::uint64_t>(step.retry_after_ns);
      return broken(resource);
    }
    if (step.word == word || breaker.compare_exchange_strong(word, step.word)) {
      call.generation = adaptive::breaker_generation(step.word);
      call.owner = adaptive::breaker_fields(step.word).owner;
      if (step.verdict == adaptive::BreakerVerdict::probe) call.flags |= kProbe;
      return WEIR_ALLOW;
    }
  }
  return broken(resource);
}

void change(weir_resource& resource, auto&& next_of) noexcept {
  A64& breaker = resource.counter.load(kRelaxed)->breaker;
  std::uint64_t word = breaker.load(std::memory_order_acquire);
  for (int i = 0; i < kAttemptsMax; ++i) {
    const std::uint64_t next = next_of(word);
    if (next == word || breaker.compare_exchange_strong(word, next)) return;
  }
}

// Failures in a row are the one thing that trips a breaker without the agent.
void note_row(weir_resource& resource, const Call& call, bool failed) noexcept {
  A64& consecutive = resource.counter.load(kRelaxed)->consecutive;
  std::uint64_t row = consecutive.load(kRelaxed);
  std::uint64_t next = 0;
  for (int i = 0; i < kAttemptsMax; ++i) {
    next = adaptive::next_consecutive(row, call.generation, failed);
    if (next == row || consecutive.compare_exchange_weak(row, next, kRelaxed)) break;
  }
  const ResourceRule& rule = *resource.rule.load(kRelaxed);
  const std::uint32_t most = rule.breaker_consecutive.load(kRelaxed);
  if (!failed || most == 0 || (next & 0xffffffffU) < most) return;
  const adaptive::BreakerPolicy policy = policy_of(rule);
  change(resource, [&](std::uint64_t word) {
    return adaptive::breaker_trip(word, call.generation, now_of(resource), chance(), policy);
  });
}

// Each long one; of short ones as many as cost nothing that one could see.
void count_response(weir_resource& resource, std::uint64_t ns) noexcept {
  const bool brief = ns < kResponseShortNs;
  if (brief && draw() % kResponseSampled != 0) return;
  ResourceCounter& counter = *resource.counter.load(kRelaxed);
  const std::size_t cell = adaptive::Histogram::cell_of(static_cast<std::int64_t>(ns));
  counter.responses[cell].fetch_add(brief ? kResponseSampled : 1, kRelaxed);
}

void report(weir_resource& resource, const Call& call, bool failed, std::uint64_t ns) noexcept {
  OutcomeLane& lane = *resource.lanes.load(kRelaxed);
  count(resource, failed ? lane.failed : lane.succeeded, 1);
  count(resource, failed ? lane.failed_ns : lane.succeeded_ns, ns);
  if (!failed) count_response(resource, ns);
  if ((resource.expected.load(kRelaxed) & kToolBreaker) == 0) return;
  const ResourceRule& rule = *resource.rule.load(kRelaxed);
  const std::uint64_t slow_ns = rule.breaker_slow_ns.load(kRelaxed);
  const bool slow = slow_ns != 0 && ns > slow_ns;
  if (slow) count(resource, lane.slow, 1);
  if ((call.flags & kProbe) != 0) {
    const adaptive::BreakerPolicy policy = policy_of(rule);
    change(resource, [&](std::uint64_t word) {
      return adaptive::breaker_probed(word, call.generation, call.owner, !failed && !slow,
                                      now_of(resource), chance(), policy);
    });
    return;
  }
  note_row(resource, call, failed);
}

// One retry of the host's budget. Without an agent the floor goes on, once for the whole host.
bool take_from_budget(weir_resource& resource, const adaptive::RetryOptions& options) noexcept {
  ResourceCounter& counter = *resource.counter.load(kRelaxed);
  std::uint64_t left = counter.retry_tokens.load(kRelaxed);
  while (left != 0)
    if (counter.retry_tokens.compare_exchange_weak(left, left - 1, kRelaxed)) return true;
  const Attachment* at = resource.attachment.load(std::memory_order_acquire);
  if (!agent_gone(*resource.client, at, &counter)) return false;
  const double floor = std::clamp(options.floor_per_second, 0.0, 1e6);
  if (floor <= 0.001) return false;
  const std::int64_t now = now_of(resource);
  const auto pause = static_cast<std::int64_t>(1e9 / floor);
  std::int64_t next = counter.retry_next_mono_ns.load(kRelaxed);
  // Further ahead than one pause is damage.
  if (next > now && next - now <= pause) return false;
  return counter.retry_next_mono_ns.compare_exchange_strong(next, now + pause, kRelaxed);
}

// No agent knows the resource: a tenth of this process's own calls, and one a second.
bool take_own(weir_resource& resource) noexcept {
  constexpr std::uint64_t kWhole = 1000;
  std::uint64_t left = resource.own_retry_milli.load(kRelaxed);
  while (left >= kWhole)
    if (resource.own_retry_milli.compare_exchange_weak(left, left - kWhole, kRelaxed)) return true;
  const std::int64_t now = read_mono_ns();
  std::int64_t next = resource.own_retry_ns.load(kRelaxed);
  return next <= now &&
         resource.own_retry_ns.compare_exchange_strong(next, now + adaptive::kSecond, kRelaxed);
}

void deposit_own(weir_resource& resource) noexcept {
  constexpr std::uint64_t kMost = 100'000;
  constexpr std::uint64_t kTenth = 100;
  if (resource.own_retry_milli.load(kRelaxed) < kMost)
    resource.own_retry_milli.fetch_add(kTenth, kRelaxed);
}

weir_status status_of(adaptive::RetryVerdict verdict) noexcept {
  switch (verdict) {
    case adaptive::RetryVerdict::retry:
      return WEIR_ALLOW;
    case adaptive::RetryVerdict::overloaded:
      return WEIR_DENY_SHED;
    case adaptive::RetryVerdict::no_time:
      return WEIR_DENY_DEADLINE;
    case adaptive::RetryVerdict::no_budget:
      return WEIR_DENY_BUDGET;
    default:
      return WEIR_DENY_RETRY;
  }
}

weir_status end(weir_call* opaque, std::int32_t outcome, bool measured,
                std::uint64_t elapsed_ns) noexcept {
  auto* call = reinterpret_cast<Call*>(opaque);
  if (call == nullptr || outcome < WEIR_DONE_OK || outcome > WEIR_DONE_IGNORED)
    return WEIR_E_INVALID;
  if (call->resource == nullptr) return WEIR_OK;
  weir_resource& resource = *call->resource;
  if (outcome == WEIR_DONE_IGNORED) {
    drop_call(*opaque);
    return WEIR_OK;
  }
  call->resource = nullptr;
  if ((call->flags & kCounted) == 0 || call->binding != resource.binding.load(kRelaxed))
    return WEIR_OK;
  if (!measured) {
    // The clock may have been set by a time namespace meanwhile; it never ran back.
    const std::int64_t now = read_mono_ns();
    elapsed_ns =
        now > call->begun_own_ns ? static_cast<std::uint64_t>(now - call->begun_own_ns) : 0;
    // A process that is never refused anything would not notice a new agent.
    if (now >= resource.maintain_at_ns.load(kRelaxed)) {
      resource.maintain_at_ns.store(now + kReapAgainNs, kRelaxed);
      maintain(*resource.client, now);
    }
  }
  report(resource, *call, outcome == WEIR_DONE_FAILED, std::min<std::uint64_t>(elapsed_ns, kDayNs));
  return WEIR_OK;
}

}  // namespace

namespace weir::client {

bool breaker_refuses(weir_resource& resource) noexcept {
  if ((tools_of(resource) & kToolBreaker) == 0) return false;
  const std::uint64_t word = resource.counter.load(kRelaxed)->breaker.load(kRelaxed);
  if (adaptive::breaker_passes(word)) return false;
  const std::int64_t coarse = resource.heartbeat.load(kRelaxed)->load(kRelaxed);
  if (!surely_refuses(word, coarse, nullptr)) return false;
  return !agent_gone(*resource.client, resource.attachment.load(std::memory_order_acquire),
                     resource.counter.load(kRelaxed));
}

void drop_call(weir_call& opaque) noexcept {
  auto* call = reinterpret_cast<Call*>(&opaque);
  weir_resource* resource = call->resource;
  call->resource = nullptr;
  if (resource == nullptr || (call->flags & kProbe) == 0 ||
      call->binding != resource->binding.load(kRelaxed))
    return;
  change(*resource, [&](std::uint64_t word) {
    return adaptive::breaker_generation(word) == call->generation
               ? adaptive::breaker_abandon(word, call->owner, now_of(*resource))
               : word;
  });
}

}  // namespace weir::client

extern "C" {

weir_status weir_call_begin(weir_resource* resource, weir_call* opaque, uint64_t* retry_after_ns) {
  auto* call = reinterpret_cast<Call*>(opaque);
  if (resource == nullptr || call == nullptr) [[unlikely]]
    return WEIR_E_INVALID;
  call->resource = nullptr;
  const std::uint32_t tools = tools_of(*resource);
  call->flags = tools & kToolActive;
  static_assert(kCounted == kToolActive);
  call->binding = resource->binding.load(kRelaxed);
  call->generation = 0;
  call->owner = 0;
  if ((tools & kToolBreaker) != 0) {
    const std::uint64_t word = resource->counter.load(kRelaxed)->breaker.load(kRelaxed);
    call->generation = adaptive::breaker_generation(word);
    if (!adaptive::breaker_passes(word)) [[unlikely]] {
      // The coarse clock is the heartbeat's; with a dead agent it stands still, and the exact one
      // decides.
      const std::int64_t coarse = resource->heartbeat.load(kRelaxed)->load(kRelaxed);
      if (surely_refuses(word, coarse, retry_after_ns) &&
          !agent_gone(*resource->client, resource->attachment.load(std::memory_order_acquire),
                      resource->counter.load(kRelaxed)))
        return broken(*resource);
      if (const weir_status status = ask(*resource, *call, retry_after_ns); status != WEIR_ALLOW)
        return status;
    }
  } else if (tools == 0) {
    deposit_own(*resource);
  }
  call->begun_own_ns = read_mono_ns();
  call->resource = resource;
  return WEIR_ALLOW;
}

weir_status weir_call_end(weir_call* call, int32_t outcome) { return end(call, outcome, false, 0); }

weir_status weir_call_end_after(weir_call* call, int32_t outcome, uint64_t elapsed_ns) {
  return end(call, outcome, true, elapsed_ns);
}

weir_status weir_retry(weir_resource* resource, const weir_retry_ask* ask, uint64_t* wait_ns) {
  if (resource == nullptr || ask == nullptr || wait_ns == nullptr ||
      ask->struct_bytes < sizeof(std::uint32_t))
    return WEIR_E_INVALID;
  weir_retry_ask known{};
  __builtin_memcpy(&known, ask, std::min<std::size_t>(ask->struct_bytes, sizeof(known)));
  if (known.hint < WEIR_HINT_MAY_HELP || known.hint > WEIR_HINT_OVERLOADED) return WEIR_E_INVALID;
  const std::uint32_t tools = tools_of(*resource);
  const bool ruled = (tools & kToolRetry) != 0;
  const adaptive::RetryOptions options =
      ruled ? retry_of(*resource->rule.load(kRelaxed)) : adaptive::RetryOptions{};
  const adaptive::RetryAsk request{
      .hint = static_cast<adaptive::RetryHint>(known.hint),
      .attempts_made = std::max(known.attempts_made, 1U),
      .remaining_ns = known.deadline_mono_ns == 0 ? adaptive::kNever
                                                  : weir_deadline_remaining(known.deadline_mono_ns),
      .expected_ns = span(known.expected_ns),
      .draw = std::uint64_t{draw()} * 0x9e3779b97f4a7c15ULL,
      .retry_after_ns = span(known.retry_after_ns)};
  const adaptive::RetryPlan plan = adaptive::plan_retry(request, options);
  if (plan.verdict != adaptive::RetryVerdict::retry) return status_of(plan.verdict);
  const bool paid = ruled ? take_from_budget(*resource, options) : take_own(*resource);
  if (!paid) return WEIR_DENY_BUDGET;
  *wait_ns = static_cast<std::uint64_t>(plan.wait_ns);
  return WEIR_ALLOW;
}

}  // extern "C"
