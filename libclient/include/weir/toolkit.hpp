// weir/toolkit.hpp: weir/toolkit.h for C++20. Header only, no exceptions, no allocation.
//
//     weir::Guard guard({.resource = orders, .limit = limit});
//     if (!guard) return refuse_with(guard.status());
//     handle_it();
//     guard.succeeded();
//
// A Guard or an Entry gives back what it took when it goes out of scope. A Guard that was told
// nothing reports no outcome.
#ifndef WEIR_TOOLKIT_HPP
#define WEIR_TOOLKIT_HPP

#include <cstdint>
#include <utility>

#include "weir/toolkit.h"
#include "weir/weir.hpp"

namespace weir {

// A permit of a concurrency limit.
class Entry {
 public:
  Entry() noexcept = default;
  explicit Entry(weir_resource* resource, std::int32_t priority_class = WEIR_CRITICAL) noexcept
      : status_(weir_enter(resource, priority_class, &entry_)) {}
  Entry(Entry&& other) noexcept
      : entry_(std::exchange(other.entry_, weir_entry{})),
        status_(std::exchange(other.status_, WEIR_E_INVALID)) {}
  Entry& operator=(Entry&& other) noexcept {
    if (this != &other) {
      leave();
      entry_ = std::exchange(other.entry_, weir_entry{});
      status_ = std::exchange(other.status_, WEIR_E_INVALID);
    }
    return *this;
  }
  ~Entry() { leave(); }

  explicit operator bool() const noexcept { return status_ == WEIR_ALLOW; }
  Status status() const noexcept { return Status(status_); }
  void leave() noexcept { (void)weir_leave(&entry_); }

 private:
  weir_entry entry_{};
  weir_status status_ = WEIR_E_INVALID;
};

// What stands before one piece of work; zero means: not asked. Times in nanoseconds.
struct GuardAsk {
  weir_resource* resource = nullptr;
  weir_limit* limit = nullptr;
  std::int32_t priority_class = WEIR_CRITICAL;
  std::uint32_t tokens = 1;
  std::int64_t deadline_mono_ns = 0;
  std::uint64_t expected_ns = 0;
  weir_resource* tenant = nullptr;
};

// Limit, concurrency, shedding and breaker at once, undone when a later one refuses.
class Guard {
 public:
  explicit Guard(const GuardAsk& ask) noexcept {
    weir_guard_options options{};
    options.struct_bytes = sizeof(options);
    options.priority_class = ask.priority_class;
    options.resource = ask.resource;
    options.limit = ask.limit;
    options.tokens = ask.tokens;
    options.deadline_mono_ns = ask.deadline_mono_ns;
    options.expected_ns = ask.expected_ns;
    options.tenant = ask.tenant;
    status_ = weir_guard_begin(&options, &guard_);
  }
  Guard(Guard&& other) noexcept
      : guard_(std::exchange(other.guard_, weir_guard{})),
        status_(std::exchange(other.status_, WEIR_E_INVALID)) {}
  Guard& operator=(Guard&& other) noexcept {
    if (this != &other) {
      end(WEIR_DONE_IGNORED);
      guard_ = std::exchange(other.guard_, weir_guard{});
      status_ = std::exchange(other.status_, WEIR_E_INVALID);
    }
    return *this;
  }
  ~Guard() { end(WEIR_DONE_IGNORED); }

  explicit operator bool() const noexcept { return status_ == WEIR_ALLOW; }
  Status status() const noexcept { return Status(status_); }

  void succeeded() noexcept { end(WEIR_DONE_OK); }
  void failed() noexcept { end(WEIR_DONE_FAILED); }
  // Neither for nor against the breaker.
  void ignored() noexcept { end(WEIR_DONE_IGNORED); }

 private:
  void end(std::int32_t outcome) noexcept { (void)weir_guard_end(&guard_, outcome); }

  weir_guard guard_{};
  weir_status status_ = WEIR_E_INVALID;
};

// A moment of CLOCK_MONOTONIC of this process by which an answer must be there.
class Deadline {
 public:
  constexpr explicit Deadline(std::int64_t at_mono_ns) noexcept : at_mono_ns_(at_mono_ns) {}
  // See weir_deadline_after.
  static Deadline after(std::int64_t timeout_ns, std::int64_t default_ns = 0,
                        std::int64_t max_ns = 0) noexcept {
    return Deadline(weir_deadline_after(timeout_ns, default_ns, max_ns));
  }

  // With the default and the most of the agent's rules; see weir_deadline_for.
  static Deadline of(weir_resource* resource, std::int64_t timeout_ns) noexcept {
    return Deadline(weir_deadline_for(resource, timeout_ns));
  }

  constexpr std::int64_t at_mono_ns() const noexcept { return at_mono_ns_; }
  constexpr Deadline earlier(Deadline other) const noexcept {
    return other.at_mono_ns_ < at_mono_ns_ ? other : *this;
  }
  std::int64_t remaining_ns() const noexcept { return weir_deadline_remaining(at_mono_ns_); }
  bool passed() const noexcept { return remaining_ns() == 0; }
  bool can_finish(std::int64_t expected_ns) const noexcept {
    return weir_deadline_can_finish(at_mono_ns_, expected_ns) == 1;
  }
  std::int64_t call_timeout_ns(std::int64_t own_timeout_ns, std::int64_t margin_ns) const noexcept {
    return weir_deadline_call_timeout(at_mono_ns_, own_timeout_ns, margin_ns);
  }

 private:
  std::int64_t at_mono_ns_;
};

}  // namespace weir

#endif  // WEIR_TOOLKIT_HPP
