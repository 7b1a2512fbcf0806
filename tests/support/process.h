// Real processes for tests: started by fork and exec, awaited by pidfd, killed for real.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "shm/fd.h"

namespace weir::test {

// A generous bound for "this never happens": asserts with it only tell a hang from progress.
inline constexpr int kHangMs = 20'000;

struct SpawnOptions {
  std::vector<std::string> argv = {};
  std::map<std::string, std::string> env = {};  // added to the test's own
  // Become descriptors 3, 4, ... of the child.
  std::vector<int> fds = {};
  std::string output = {};        // stdout and stderr go to this file; empty: the test's own
  std::optional<uid_t> uid = {};  // drop to this user (the test is root)
  std::vector<std::pair<int, rlim_t>> limits = {};
  std::function<void()> in_child = {};  // between fork and exec: async-signal-safe calls only
};

class Process {
 public:
  Process() = default;
  static Process spawn(const SpawnOptions& options);
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;
  ~Process();  // kills what still runs

  pid_t pid() const { return pid_; }
  bool running() const { return pid_ > 0; }
  void signal(int number) const;
  // Kills and reaps.
  void kill9();
  // The wait status, or nothing when the process still runs after the time.
  std::optional<int> wait(int timeout_ms = kHangMs);
  // The exit code; -1 for a signal or a process that did not end.
  int exit_code(int timeout_ms = kHangMs);

 private:
  pid_t pid_ = -1;
  shm::Fd pidfd_;
};

// A directory of its own, removed with everything in it.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// True as soon as the condition holds; for what can only be observed, never for what reports
// itself.
bool eventually(const std::function<bool()>& condition, int timeout_ms = kHangMs);

std::int64_t now_ns();
bool is_root();
// Some user that is neither root nor this process's own.
inline constexpr uid_t kStranger = 65534;

// Of a process: open descriptors, resident pages in bytes, CPU time used so far.
int count_fds(pid_t pid);
std::uint64_t resident_bytes(pid_t pid);
double cpu_seconds(pid_t pid);
char state_of(pid_t pid);  // 'R', 'S', 'T', ...

std::string read_text(const std::string& path);
void write_text(const std::string& path, const std::string& text);
// Lets everybody into a test's directory, for tests with a second user.
void open_to_all(const std::string& dir);

// A small random number generator: the same numbers for the same seed, on every host.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 2 + 1) {}
  std::uint32_t operator()() {
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return static_cast<std::uint32_t>(state_ >> 33);
  }

 private:
  std::uint64_t state_;
};

// WEIR_CHAOS_SECONDS, or the short time that a default run takes.
double chaos_seconds(double otherwise);

}  // namespace weir::test
