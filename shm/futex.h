// A futex that works across processes. std::atomic::wait does not: its futexes are private.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

namespace weir::shm {

// Sleeps while `word` is `expected`, at most until the CLOCK_MONOTONIC instant (this process's
// own frame). Wakes early for signals and without reason.
inline void futex_wait_until(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                             std::int64_t until_own_mono_ns) noexcept {
  struct timespec until {};
  until.tv_sec = static_cast<time_t>(until_own_mono_ns / 1'000'000'000);
  until.tv_nsec = static_cast<long>(until_own_mono_ns % 1'000'000'000);
  ::syscall(SYS_futex, reinterpret_cast<const std::uint32_t*>(&word), FUTEX_WAIT_BITSET, expected,
            &until, nullptr, FUTEX_BITSET_MATCH_ANY);
}

inline void futex_wake_one(std::atomic<std::uint32_t>& word) noexcept {
  ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

inline void futex_wake_all(std::atomic<std::uint32_t>& word) noexcept {
  ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), FUTEX_WAKE, 0x7fffffff, nullptr,
            nullptr, 0);
}

}  // namespace weir::shm
