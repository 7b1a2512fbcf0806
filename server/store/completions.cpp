#include "server/store/completions.h"

#include <utility>

namespace weir::server {

Post Completions::post() {
  return [this](std::function<void()> call) {
    {
      const std::lock_guard lock(mutex_);
      ready_.push_back(std::move(call));
    }
    some_.notify_one();
  };
}

std::size_t Completions::run(std::chrono::milliseconds wait_at_most) {
  std::deque<std::function<void()>> now;
  {
    std::unique_lock lock(mutex_);
    if (ready_.empty() && wait_at_most.count() > 0)
      some_.wait_for(lock, wait_at_most, [this] { return !ready_.empty(); });
    now.swap(ready_);
  }
  for (const auto& call : now)
    call();
  return now.size();
}

}  // namespace weir::server
