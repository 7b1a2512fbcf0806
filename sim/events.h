// What is still to come, in order of true time; what falls on one instant comes in the order in
// which it was planned, so that a run is the same each time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "lease/units.h"

namespace weir::sim {

using lease::TimeNs;

enum class EventKind : std::uint8_t {
  wake,       // who: host; data: the wake's number, an older one has been overtaken
  deliver,    // who: packet
  connect,    // who: host; data: the connection's number
  poll,       // who: server; data: the life of the server that plans it
  keepalive,  // who: server
  election,   // the store looks whether the owner's lease has run out
  fault,      // a fault begins
  heal,       // who: index of what ends
  shift,      // demand changes
  step,       // everybody is brought up to now, and the oracles look
};

struct Event {
  TimeNs at_ns = 0;
  std::uint64_t order = 0;
  std::uint64_t data = 0;
  std::uint32_t who = 0;
  EventKind kind = EventKind::step;
};

// A heap of four children a node: half the levels of one of two, and the children share a line.
class EventQueue {
 public:
  void push(TimeNs at_ns, EventKind kind, std::uint32_t who = 0, std::uint64_t data = 0) {
    const Event event{at_ns, ++planned_, data, who, kind};
    std::size_t at = heap_.size();
    heap_.push_back(event);
    while (at > 0 && before(event, heap_[(at - 1) / 4])) {
      heap_[at] = heap_[(at - 1) / 4];
      at = (at - 1) / 4;
    }
    heap_[at] = event;
  }

  bool empty() const noexcept { return heap_.empty(); }
  const Event& top() const noexcept { return heap_.front(); }

  Event pop() {
    const Event first = heap_.front();
    const Event last = heap_.back();
    heap_.pop_back();
    if (!heap_.empty()) sink(last);
    return first;
  }

 private:
  static bool before(const Event& a, const Event& b) noexcept {
    return a.at_ns != b.at_ns ? a.at_ns < b.at_ns : a.order < b.order;
  }

  // `event` takes the place of the first, and goes down to where it belongs.
  void sink(const Event& event) {
    std::size_t at = 0;
    for (;;) {
      std::size_t child = 4 * at + 1;
      if (child >= heap_.size()) break;
      const std::size_t end = std::min(child + 4, heap_.size());
      for (std::size_t other = child + 1; other < end; ++other)
        if (before(heap_[other], heap_[child])) child = other;
      if (!before(heap_[child], event)) break;
      heap_[at] = heap_[child];
      at = child;
    }
    heap_[at] = event;
  }

  std::vector<Event> heap_;
  std::uint64_t planned_ = 0;
};

}  // namespace weir::sim
