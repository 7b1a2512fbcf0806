// A queue that costs nothing while it is empty: a host has thousands of them.
#pragma once

#include <cstddef>
#include <vector>

namespace weir::sim {

template <class T>
class Fifo {
 public:
  bool empty() const noexcept { return first_ == items_.size(); }
  std::size_t size() const noexcept { return items_.size() - first_; }
  T& front() noexcept { return items_[first_]; }
  const T& front() const noexcept { return items_[first_]; }
  void push(const T& item) { items_.push_back(item); }
  void pop() {
    if (++first_ < items_.size() && first_ < kShiftAt) return;
    items_.erase(items_.begin(), items_.begin() + static_cast<std::ptrdiff_t>(first_));
    first_ = 0;
  }
  void clear() {
    items_.clear();
    first_ = 0;
  }

 private:
  static constexpr std::size_t kShiftAt = 64;
  std::vector<T> items_;
  std::size_t first_ = 0;
};

}  // namespace weir::sim
