// The queue of one limit: who waits, in the order in which they came, and what has been put by for
// the first of them. It lives in the agent alone: a queue in shared memory would stop at the first
// waiter that is killed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <utility>

#include "shm/layout.h"
#include "shm/view.h"

namespace weir::agent {

struct Waiter {
  std::uint32_t cell = 0;
  std::uint32_t sequence = 0;
  std::uint64_t tokens = 0;
  std::uint64_t reserve = 0;  // what the waiter's class leaves in the bucket
  std::uint32_t client = 0;
};

class WaiterQueue {
 public:
  bool empty() const noexcept { return waiters_.empty(); }
  std::size_t size() const noexcept { return waiters_.size(); }
  std::uint64_t put_by() const noexcept { return put_by_; }
  // What all who wait have asked for.
  std::uint64_t wanted() const noexcept { return wanted_; }
  // What the first of them needs at once; 0: nobody waits.
  std::uint64_t need() const noexcept {
    return waiters_.empty() ? 0 : waiters_.front().tokens + waiters_.front().reserve;
  }
  // What is still missing until everybody here could be served.
  std::uint64_t owed() const noexcept { return wanted_ - std::min(wanted_, put_by_); }

  void push(const Waiter& waiter) {
    waiters_.push_back(waiter);
    wanted_ += waiter.tokens;
  }

  // What has to be put by until all could be served, the first one's reserve included.
  std::uint64_t missing() const noexcept {
    if (waiters_.empty()) return 0;
    const std::uint64_t needed = wanted_ + waiters_.front().reserve;
    return needed - std::min(needed, put_by_);
  }
  void feed(std::uint64_t tokens) noexcept { put_by_ += tokens; }

  // Serves from the front while there is enough and `wakes` allows; `wake` is called for each cell
  // granted. Cells that gave up meanwhile are passed over. Returns how many were served.
  template <class Wake>
  std::uint32_t serve(const shm::CountersView& counters, std::uint32_t& wakes,
                      const Wake& wake) noexcept {
    std::uint32_t served = 0;
    while (!waiters_.empty() && wakes > 0) {
      const Waiter& first = waiters_.front();
      shm::A32& state = counters.waiter(first.cell).state;
      std::uint32_t expected = shm::waiter_word(first.sequence, shm::WaiterState::waiting);
      if (state.load(std::memory_order_acquire) == expected) {
        if (put_by_ < first.tokens + first.reserve) break;
        // release: the waiter that sees the grant sees all that came before it.
        if (state.compare_exchange_strong(
                expected, shm::waiter_word(first.sequence, shm::WaiterState::granted),
                std::memory_order_acq_rel)) {
          put_by_ -= first.tokens;
          --wakes;
          ++served;
          wake(state);
        }
      }
      pop_front();
    }
    return served;
  }

  // What is put by for nobody any more. It goes back into the bucket with the next mint.
  std::uint64_t surplus() const noexcept {
    const std::uint64_t needed = waiters_.empty() ? 0 : wanted_ + waiters_.front().reserve;
    return put_by_ - std::min(put_by_, needed);
  }
  void take_surplus() noexcept { put_by_ -= surplus(); }
  // Somebody else minted and could not see what is put by here: it is lost.
  std::uint64_t lose() noexcept { return std::exchange(put_by_, 0); }
  // The burst was lowered: what is put by above it goes. Returns how much that was.
  std::uint64_t cut_to(std::uint64_t burst) noexcept {
    const std::uint64_t over = put_by_ - std::min(put_by_, burst);
    put_by_ -= over;
    return over;
  }

  void forget_client(std::uint32_t client) noexcept {
    std::erase_if(waiters_, [&](const Waiter& w) {
      if (w.client != client) return false;
      wanted_ -= w.tokens;
      return true;
    });
  }
  void clear() noexcept {
    waiters_.clear();
    wanted_ = 0;
  }

 private:
  void pop_front() noexcept {
    wanted_ -= waiters_.front().tokens;
    waiters_.pop_front();
  }

  std::deque<Waiter> waiters_;
  std::uint64_t wanted_ = 0;
  std::uint64_t put_by_ = 0;
};

}  // namespace weir::agent
