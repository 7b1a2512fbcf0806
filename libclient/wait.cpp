// Waiting in turn. The queue is the agent's: a queue in shared memory would stop at the first
// waiter that is killed. A waiter owns one cell, tells the agent by one frame, and sleeps on the
// cell; the agent pays waiters from what it mints before anybody else, in the order in which
// their frames came, and forgets them with their connection.
//
// Without an agent, or with more waiters than the process has cells, a call retries by itself at
// the time at which its tokens are likely to be there.
#include <bit>
#include <cstring>

#include "libclient/client.h"
#include "shm/futex.h"

using namespace weir::client;
using namespace weir::shm;

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr std::uint64_t kPollMinNs = 50'000;
constexpr std::uint64_t kPollMaxNs = 20'000'000;
constexpr std::uint32_t kNoCell = UINT32_MAX;
// 0 is a weir_wait that was never begun.
enum class Stage : std::uint32_t { none = 0, finished = 1, queued = 2, retrying = 3 };

// What lies in the 64 opaque bytes of a weir_wait.
struct Wait {
  weir_limit* limit;
  std::int64_t deadline_own_ns;
  const Attachment* attachment;
  std::uint32_t tokens;
  std::int32_t priority_class;
  Stage stage;
  std::uint32_t cell;  // index in the segment
  std::uint32_t bit;   // in the client's mask
  std::uint32_t sequence;
  weir_status answer;
  Attempt attempt;  // how it counts if it is refused; silent: it has been counted
};
static_assert(sizeof(Wait) <= sizeof(weir_wait));

Wait load(const weir_wait& opaque) noexcept {
  Wait wait;
  std::memcpy(&wait, &opaque, sizeof(wait));
  return wait;
}

void store(weir_wait& opaque, const Wait& wait) noexcept {
  std::memcpy(&opaque, &wait, sizeof(wait));
}

A32& cell_state(const Wait& wait) noexcept {
  return wait.attachment->counters.waiter(wait.cell).state;
}

// Only while the cell is still this wait's: after a new attachment the client's cells are others,
// and this one may already be somebody else's.
void free_cell(Wait& wait) noexcept {
  if (wait.cell == kNoCell) return;
  weir_client& client = *wait.limit->client;
  for (const WaiterState state :
       {WaiterState::granted, WaiterState::cancelled, WaiterState::waiting}) {
    std::uint32_t mine = waiter_word(wait.sequence, state);
    if (cell_state(wait).compare_exchange_strong(mine,
                                                 waiter_word(wait.sequence, WaiterState::free),
                                                 std::memory_order_release, kRelaxed))
      break;
  }
  if (client.current.load(std::memory_order_acquire) == wait.attachment)
    client.waiters_used.fetch_and(~(1U << wait.bit), std::memory_order_release);
  wait.cell = kNoCell;
}

// Takes a cell of this connection and tells the agent. False: none is free, or nobody to tell.
bool enqueue(Wait& wait) noexcept {
  weir_client& client = *wait.limit->client;
  const std::uint32_t count = client.waiters.load(kRelaxed);
  if (count == 0 || client.link.load(std::memory_order_acquire) != Link::attached) return false;
  if (client.current.load(std::memory_order_acquire) != wait.attachment) return false;
  const std::uint32_t all = count >= 32 ? ~0U : (1U << count) - 1;
  std::uint32_t used = client.waiters_used.load(kRelaxed);
  for (;;) {
    const std::uint32_t open = ~used & all;
    if (open == 0) return false;
    wait.bit = static_cast<std::uint32_t>(std::countr_zero(open));
    // acquire: the cell's former owner has left it.
    if (client.waiters_used.compare_exchange_weak(used, used | 1U << wait.bit,
                                                  std::memory_order_acquire, kRelaxed))
      break;
  }
  wait.cell = client.first_waiter.load(kRelaxed) + wait.bit;
  if (wait.cell >= wait.attachment->counters.geometry().waiters) {  // a newer, larger segment's
    wait.cell = kNoCell;
    return false;
  }
  wait.sequence = client.wait_sequence.fetch_add(1, kRelaxed) & (~0U >> 2);
  WaiterCell& cell = wait.attachment->counters.waiter(wait.cell);
  cell.limit_index.store(wait.limit->index.load(kRelaxed), kRelaxed);
  cell.limit_generation.store(static_cast<std::uint32_t>(wait.limit->expected.load(kRelaxed) >> 32),
                              kRelaxed);
  cell.priority_class.store(static_cast<std::uint32_t>(wait.priority_class), kRelaxed);
  cell.tokens.store(wait.tokens, kRelaxed);
  // release: whoever sees the cell waiting sees what it waits for.
  cell.state.store(waiter_word(wait.sequence, WaiterState::waiting), std::memory_order_release);
  if (try_send_frame(client, FrameType::wait, wait.cell, wait.sequence)) return true;
  free_cell(wait);
  return false;
}

// Leaves the queue. True: the tokens had come after all.
bool leave_queue(Wait& wait) noexcept {
  std::uint32_t expected = waiter_word(wait.sequence, WaiterState::waiting);
  const bool left = cell_state(wait).compare_exchange_strong(
      expected, waiter_word(wait.sequence, WaiterState::cancelled), std::memory_order_acq_rel);
  const bool granted = !left && expected == waiter_word(wait.sequence, WaiterState::granted);
  free_cell(wait);
  return granted;
}

weir_status finish(Wait& wait, weir_status answer) noexcept {
  wait.stage = Stage::finished;
  wait.answer = answer;
  return answer;
}

// A wait is one refusal at most, however often it looks. While it stands in the agent's queue it
// is none: there the agent sees it.
void count_once(Wait& wait) noexcept {
  count_refusal(*wait.limit, wait.tokens, wait.attempt);
  wait.attempt = Attempt::silent;
}

weir_status refuse(Wait& wait) noexcept {
  count_once(wait);
  return finish(wait, WEIR_DENY);
}

weir_status retry(Wait& wait, std::int64_t now_own_ns, std::uint64_t& poll_after_ns) noexcept {
  if (acquire_slow(*wait.limit, wait.tokens, wait.priority_class, Attempt::silent) == WEIR_ALLOW)
    return finish(wait, WEIR_ALLOW);
  count_once(wait);
  if (now_own_ns >= wait.deadline_own_ns) return finish(wait, WEIR_DENY);
  std::uint64_t likely = 0;
  const weir_status status = estimate_wait(*wait.limit, wait.tokens, wait.priority_class, likely);
  if (status != WEIR_OK) return finish(wait, status);
  const auto left = static_cast<std::uint64_t>(wait.deadline_own_ns - now_own_ns);
  if (likely < kPollMinNs) likely = kPollMinNs;
  if (likely > kPollMaxNs) likely = kPollMaxNs;
  poll_after_ns = likely < left ? likely : left;
  return WEIR_PENDING;
}

weir_status poll_queue(Wait& wait, std::int64_t now_own_ns, std::uint64_t& poll_after_ns) noexcept {
  // acquire: pairs with the agent's grant.
  const std::uint32_t word = cell_state(wait).load(std::memory_order_acquire);
  if (word == waiter_word(wait.sequence, WaiterState::granted)) {
    free_cell(wait);
    return finish(wait, WEIR_ALLOW);
  }
  const bool alive = wait.attachment->agent_alive(now_own_ns - wait.attachment->offset_ns) &&
                     wait.limit->attachment.load(std::memory_order_acquire) == wait.attachment;
  const bool refused_by_agent = word != waiter_word(wait.sequence, WaiterState::waiting);
  if (now_own_ns >= wait.deadline_own_ns)
    return leave_queue(wait) ? finish(wait, WEIR_ALLOW) : refuse(wait);
  if (!alive || refused_by_agent) {
    if (leave_queue(wait)) return finish(wait, WEIR_ALLOW);
    wait.stage = Stage::retrying;
    return retry(wait, now_own_ns, poll_after_ns);
  }
  const auto left = static_cast<std::uint64_t>(wait.deadline_own_ns - now_own_ns);
  // The queue's own order decides; an estimate only says when to look again.
  std::uint64_t likely = kPollMaxNs;
  (void)estimate_wait(*wait.limit, wait.tokens, wait.priority_class, likely);
  if (likely < kPollMinNs * 4) likely = kPollMinNs * 4;
  if (likely > kPollMaxNs) likely = kPollMaxNs;
  poll_after_ns = likely < left ? likely : left;
  return WEIR_PENDING;
}

weir_status poll(Wait& wait, std::uint64_t& poll_after_ns) noexcept {
  poll_after_ns = 0;
  if (wait.stage == Stage::none) return WEIR_E_INVALID;
  if (wait.stage == Stage::finished) return wait.answer;
  const std::int64_t now = read_mono_ns();
  return wait.stage == Stage::queued ? poll_queue(wait, now, poll_after_ns)
                                     : retry(wait, now, poll_after_ns);
}

weir_status begin(weir_limit* limit, std::uint32_t n, std::int32_t priority_class,
                  std::uint64_t timeout_ns, Wait& wait, std::uint64_t& wait_ns) noexcept {
  wait = Wait{};
  wait.cell = kNoCell;
  wait.attempt = (priority_class & WEIR_RETRY) != 0 ? Attempt::retry : Attempt::first;
  priority_class &= ~WEIR_RETRY;
  wait_ns = 0;
  if (limit == nullptr || n == 0 || priority_class < 0 || priority_class >= int32_t{kClasses})
    return finish(wait, WEIR_E_INVALID);
  const std::int64_t now = read_mono_ns();
  wait.limit = limit;
  wait.tokens = n;
  wait.priority_class = priority_class;
  wait.deadline_own_ns = timeout_ns > static_cast<std::uint64_t>(INT64_MAX - now)
                             ? INT64_MAX
                             : now + static_cast<std::int64_t>(timeout_ns);
  const weir_status known = estimate_wait(*limit, n, priority_class, wait_ns);
  if (known != WEIR_OK) return finish(wait, known);
  // Nobody is owed anything that this call could need: it may go at once. A private bucket and one
  // without an agent may have minted since, so there the attempt itself decides.
  const Attachment* at = limit->attachment.load(std::memory_order_acquire);
  const bool alive = at->agent_alive(now - at->offset_ns);
  if ((wait_ns == 0 || !alive) &&
      acquire_slow(*limit, n, priority_class, Attempt::silent) == WEIR_ALLOW) {
    wait_ns = 0;
    return finish(wait, WEIR_ALLOW);
  }
  if (estimate_wait(*limit, n, priority_class, wait_ns) != WEIR_OK || wait_ns > timeout_ns)
    return refuse(wait);
  wait.attachment = limit->attachment.load(std::memory_order_acquire);
  wait.stage =
      alive && !wait.attachment->is_private && enqueue(wait) ? Stage::queued : Stage::retrying;
  return WEIR_PENDING;
}

void sleep_for(const Wait& wait, std::uint64_t poll_after_ns) noexcept {
  const std::int64_t until = read_mono_ns() + static_cast<std::int64_t>(poll_after_ns);
  if (wait.stage == Stage::queued) {
    // The agent's wake ends this sleep; the time only bounds how late its death is noticed.
    constexpr std::int64_t kLookNs = 100'000'000;
    std::int64_t look = read_mono_ns() + kLookNs;
    if (look > wait.deadline_own_ns) look = wait.deadline_own_ns;
    futex_wait_until(cell_state(wait), waiter_word(wait.sequence, WaiterState::waiting), look);
    return;
  }
  struct timespec at {};
  at.tv_sec = static_cast<time_t>(until / 1'000'000'000);
  at.tv_nsec = static_cast<long>(until % 1'000'000'000);
  ::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr);
}

}  // namespace

extern "C" {

weir_status weir_wait_begin(weir_limit* limit, uint32_t n, int32_t priority_class,
                            uint64_t timeout_ns, weir_wait* opaque, uint64_t* poll_after_ns) {
  if (opaque == nullptr) return WEIR_E_INVALID;
  Wait wait;
  std::uint64_t wait_ns = 0;
  weir_status status = begin(limit, n, priority_class, timeout_ns, wait, wait_ns);
  std::uint64_t after = wait_ns;
  if (status == WEIR_PENDING) status = poll(wait, after);
  if (status == WEIR_DENY) after = wait_ns;
  if (poll_after_ns != nullptr) *poll_after_ns = after;
  store(*opaque, wait);
  return status;
}

weir_status weir_wait_poll(weir_wait* opaque, uint64_t* poll_after_ns) {
  if (opaque == nullptr) return WEIR_E_INVALID;
  Wait wait = load(*opaque);
  std::uint64_t after = 0;
  const weir_status status = poll(wait, after);
  if (poll_after_ns != nullptr) *poll_after_ns = after;
  store(*opaque, wait);
  return status;
}

void weir_wait_cancel(weir_wait* opaque) {
  if (opaque == nullptr) return;
  Wait wait = load(*opaque);
  // Tokens that came at the last moment go back.
  if (wait.stage == Stage::queued && leave_queue(wait)) {
    weir_refund(wait.limit, wait.tokens);
    wait.attempt = Attempt::silent;
  }
  if (wait.stage != Stage::none && wait.stage != Stage::finished) refuse(wait);
  store(*opaque, wait);
}

weir_status weir_acquire_class(weir_limit* limit, uint32_t n, int32_t priority_class,
                               uint64_t timeout_ns, uint64_t* wait_ns) {
  const KeepErrno keep;
  const std::int64_t began = read_mono_ns();
  Wait wait;
  std::uint64_t likely = 0;
  weir_status status = begin(limit, n, priority_class, timeout_ns, wait, likely);
  if (status == WEIR_PENDING) {
    std::uint64_t poll_after = 0;
    status = poll(wait, poll_after);
    while (status == WEIR_PENDING) {
      sleep_for(wait, poll_after);
      status = poll(wait, poll_after);
    }
    likely = static_cast<std::uint64_t>(read_mono_ns() - began);
  }
  if (wait_ns != nullptr) *wait_ns = likely;
  return status;
}

weir_status weir_acquire(weir_limit* limit, uint32_t n, uint64_t timeout_ns, uint64_t* wait_ns) {
  return weir_acquire_class(limit, n, WEIR_CRITICAL, timeout_ns, wait_ns);
}

}  // extern "C"
