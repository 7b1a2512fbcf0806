// What a server remembers over its restart, and the thread that writes it: a disk that hangs must
// not make leases lapse.
//
//   epoch        the highest epoch that was ever used here
//   key          16 random bytes that prove claims, readable by the owner alone
//   identities   who was met, see state_file.h
//   lock         held while a server runs
//
// When something cannot be written the server goes on from memory, `identities` is taken away, so
// that the next start learns for its full time, and a whole new file is tried every few seconds.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "server/state_file.h"

namespace boost::asio {
class io_context;
}

namespace weir::server {

struct StateOptions {
  std::string dir;                            // empty: nothing is kept
  std::chrono::milliseconds patience{1'000};  // with a write, before it counts as failed
  std::chrono::milliseconds retry{5'000};
};

struct StateLoaded {
  std::string error;        // not empty: another server runs here; nothing was read
  std::uint64_t epoch = 0;  // of this start: stored if that was possible; the first is random
  std::array<unsigned char, 16> key{};
  Known known;
  // Nothing is missing from `known`: the files are in order, or there never were any. `fresh` is
  // the second case: either nobody was ever served, or the state of an earlier server is lost.
  bool intact = false;
  bool fresh = false;
  std::vector<std::string> notes;  // what was wrong, for the log
};

struct StateStats {
  bool kept = false;      // there is a directory at all
  bool degraded = false;  // what happens now is not stored
  std::string last_error;
  std::uint64_t commits_total = 0;
  std::uint64_t failures_total = 0;
  std::uint64_t file_bytes = 0;
  std::chrono::microseconds commit_time{0};  // of the last one
};

// One thread, save for the writer's own.
class StateStore {
 public:
  // `on_done` is called on the io_context's thread. `done` says whether all that was asked before
  // is on the disk.
  using Done = std::function<void(bool durable)>;

  StateStore(boost::asio::io_context& io, StateOptions options);
  ~StateStore();  // waits for what is being written
  StateStore(const StateStore&) = delete;
  StateStore& operator=(const StateStore&) = delete;

  StateLoaded open();  // once, before anything else; waits for the disk

  void remember(const std::string& name_space, const Identity& identity);
  void forget(const std::string& name_space, const Identity& identity);
  // Nobody of the namespace is missing any more, or somebody may be.
  void set_whole(const std::string& name_space, bool whole);
  void raise_epoch(std::uint64_t epoch);
  // Calls of one turn become one write.
  void commit(Done done);
  // A few times a second: gives up on a disk that does not answer, and tries again later.
  void poll();

  bool idle() const noexcept;  // nothing waits to be written
  const StateStats& stats() const noexcept;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace weir::server
