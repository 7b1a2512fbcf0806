// For callers without an event loop: what the store has to say waits here until they ask.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>

#include "server/store/store.h"

namespace weir::server {

class Completions {
 public:
  Post post();
  // Runs what is there, waiting for the first a while. How many were run.
  std::size_t run(std::chrono::milliseconds wait_at_most = std::chrono::milliseconds(0));

 private:
  std::mutex mutex_;
  std::condition_variable some_;
  std::deque<std::function<void()>> ready_;
};

}  // namespace weir::server
