// What most tests share: an agent, a log, workers.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>

#include <string>
#include <vector>

#include "shm/futex.h"
#include "tests/support/agent.h"
#include "tests/support/call_log.h"
#include "weir/weir.h"

namespace weir::test {

// A client of this very process.
class Client {
 public:
  explicit Client(const std::string& sock, bool require = true) {
    weir_options options{};
    options.struct_bytes = sizeof(options);
    options.socket_path = sock.c_str();
    options.require_agent = require ? 1 : 0;
    options.connect_timeout_ms = 5000;
    status_ = weir_open(&options, &client_);
  }
  ~Client() { weir_close(client_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  weir_client* get() const { return client_; }
  weir_status status() const { return status_; }
  weir_limit* limit(const std::string& name, std::int32_t mode = WEIR_MODE_CLOSED) const {
    weir_limit_options options{};
    options.struct_bytes = sizeof(options);
    options.mode = mode;
    weir_limit* limit = nullptr;
    return weir_limit_get(client_, name.c_str(), &options, &limit) == WEIR_OK ? limit : nullptr;
  }

 private:
  weir_client* client_ = nullptr;
  weir_status status_ = WEIR_OK;
};

inline weir_limit_info info_of(weir_limit* limit) {
  weir_limit_info info{};
  info.struct_bytes = sizeof(info);
  weir_limit_read(limit, &info);
  return info;
}

// Workers that share one limit's log.
class Crew {
 public:
  Crew(const std::string& dir, std::uint32_t lanes, std::uint64_t records)
      : log_(CallLog::create(dir + "/calls.log", lanes, records)), processes_(lanes) {}

  void start(std::uint32_t lane, std::string mode, std::vector<std::string> words,
             const std::map<std::string, std::string>& env = {}) {
    words.insert(words.begin(), std::move(mode));
    words.push_back("log=" + log_.path());
    words.push_back("lane=" + std::to_string(lane));
    SpawnOptions spawn = worker(words);
    spawn.env = env;
    processes_[lane] = Process::spawn(spawn);
  }
  // Whether the lane's worker, in this incarnation, has come to its first call.
  bool wait_started(std::uint32_t lane, std::uint64_t incarnations = 1) {
    return eventually([&] { return log_.lane(lane).starts.load() >= incarnations; });
  }
  bool wait_all_started() {
    bool all = true;
    for (std::uint32_t i = 0; i < log_.lanes(); ++i)
      all = wait_started(i) && all;
    return all;
  }
  void go() {
    log_.go().store(1);
    ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&log_.go()), FUTEX_WAKE, INT32_MAX,
              nullptr, nullptr, 0);
  }
  // Lets everybody finish; each must end by itself with 0.
  void finish() {
    log_.stop();
    go();
    for (Process& each : processes_) {
      if (!each.running()) continue;
      EXPECT_EQ(each.exit_code(), 0) << "a worker did not end well";
    }
  }
  CallLog& log() { return log_; }
  Process& process(std::uint32_t lane) { return processes_[lane]; }

 private:
  CallLog log_;
  std::vector<Process> processes_;
};

// The bound over everything in the log.
inline void expect_bound(const CallLog& log, const OracleRule& rule, const std::string& what) {
  const OracleVerdict verdict = check_bound(log.admissions(), rule);
  EXPECT_TRUE(verdict.holds) << what << ": " << verdict.over_tokens
                             << " tokens over burst + rate x window, in a window of "
                             << static_cast<double>(verdict.to_ns - verdict.from_ns) / 1e6 << " ms";
  ::testing::Test::RecordProperty("over_tokens", std::to_string(verdict.over_tokens));
  std::printf("[ oracle   ] %s: %llu admitted, %.1f tokens %s the bound\n", what.c_str(),
              static_cast<unsigned long long>(verdict.admitted),
              verdict.over_tokens < 0 ? -verdict.over_tokens : verdict.over_tokens,
              verdict.over_tokens <= 0 ? "below" : "OVER");
  EXPECT_EQ(log.sum(&Lane::full), 0U) << "a lane was too small for its calls";
}

// The bound has no slack of its own: a minter that stops or dies loses tokens and doubles none
// (shm/mint.h). This is for what a test's own scenario adds, and the test says why.
inline OracleRule with_slack(OracleRule rule, std::uint64_t tokens) {
  rule.burst += tokens;
  return rule;
}

}  // namespace weir::test
