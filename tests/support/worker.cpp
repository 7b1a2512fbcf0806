// One process of a test: it attaches, does one thing, and writes down what it saw.
//
//     weir_worker MODE key=value ...
//
// Every mode: sock= (the agent's socket), limit=, log= and lane= (where to write), ms= (how long).
// spend    takes tokens in a loop. n=, class=, idle_us= (pause after a refusal), mode= and amount=,
//          burst= (what to do while no agent knows the limit), hold=1 (wait for the log's go word),
//          migrate=1 (changes its CPU all the time), count= (at most so many admissions).
// count    takes tokens as fast as it can and counts alone: lane.a admitted, lane.b the time before
// the
//          first call, lane.c the time after the last.
// attach   opens and closes clients as fast as it can, count= of them; lane.a counts attached,
// lane.b refused. read     reads the limit in a loop; lane.errors counts rules that are neither a0=
// nor a1= (amount,
//          burst), lane.a and lane.b how often each was seen.
// wait     waits in turn: n=, timeout_ms=; lane.a is the status, lane.b when it came back.
// quota    takes units of quota= and key=, one to most= at a time; every fourth take is given back,
//          every seventh settled at a unit less. pace_us= until the log's go word. lane.a counts
//          what was handed out, after it; lane.b what goes back, before it does. lane.denied are
//          the answers in a row that nothing is left.
// probe    prints what is inherited: descriptors above 2 and mappings of weir.
#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <optional>
#include <string>

#include "shm/futex.h"
#include "tests/support/call_log.h"
#include "weir/quota.h"
#include "weir/weir.h"

namespace {

using namespace weir::test;

std::int64_t now_ns() {
  struct timespec now {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

class Words {
 public:
  Words(int argc, char** argv) {
    for (int i = 2; i < argc; ++i) {
      const std::string word = argv[i];
      const std::size_t at = word.find('=');
      values_[word.substr(0, at)] = at == std::string::npos ? "1" : word.substr(at + 1);
    }
  }
  std::string text(const std::string& key, const std::string& otherwise = "") const {
    const auto found = values_.find(key);
    return found == values_.end() ? otherwise : found->second;
  }
  std::int64_t number(const std::string& key, std::int64_t otherwise = 0) const {
    const auto found = values_.find(key);
    return found == values_.end() ? otherwise : std::atoll(found->second.c_str());
  }

 private:
  std::map<std::string, std::string> values_;
};

struct Opened {
  weir_client* client = nullptr;
  weir_limit* limit = nullptr;
};

std::optional<Opened> open_limit(const Words& words) {
  Opened opened;
  weir_options options{};
  options.struct_bytes = sizeof(options);
  const std::string sock = words.text("sock");
  options.socket_path = sock.c_str();
  options.require_agent = static_cast<uint32_t>(words.number("require", 0));
  options.connect_timeout_ms = 5000;
  if (weir_open(&options, &opened.client) != WEIR_OK) return std::nullopt;
  weir_limit_options rule{};
  rule.struct_bytes = sizeof(rule);
  rule.mode = static_cast<int32_t>(words.number("mode", WEIR_MODE_CLOSED));
  rule.amount = static_cast<uint64_t>(words.number("amount", 0));
  rule.burst = static_cast<uint64_t>(words.number("burst", 0));
  if (weir_limit_get(opened.client, words.text("limit", "/t").c_str(), &rule, &opened.limit) !=
      WEIR_OK)
    return std::nullopt;
  return opened;
}

void pause_us(std::int64_t us) {
  if (us <= 0) return;
  const struct timespec pause { us / 1'000'000, us % 1'000'000 * 1000 };
  ::nanosleep(&pause, nullptr);
}

void wait_for_go(const CallLog& log) {
  while (log.go().load() == 0 && !log.stopped())
    weir::shm::futex_wait_until(log.go(), 0, now_ns() + 100'000'000);
}

void migrate(std::uint64_t round) {
  cpu_set_t set;
  CPU_ZERO(&set);
  const long cpus = ::sysconf(_SC_NPROCESSORS_ONLN);
  CPU_SET(static_cast<std::size_t>(round) % static_cast<std::size_t>(cpus), &set);
  ::sched_setaffinity(0, sizeof(set), &set);
}

template <class T>
void raise_to(std::atomic<T>& word, T value) {
  if (word.load(std::memory_order_relaxed) < value) word.store(value, std::memory_order_relaxed);
}

int spend(const Words& words) {
  const CallLog log = CallLog::open(words.text("log"));
  const auto index = static_cast<std::uint32_t>(words.number("lane"));
  Lane& lane = log.lane(index);
  const auto opened = open_limit(words);
  if (!opened) return 3;
  const auto n = static_cast<uint32_t>(words.number("n", 1));
  const auto priority = static_cast<int32_t>(words.number("class", WEIR_CRITICAL));
  const std::int64_t idle_us = words.number("idle_us", 100);
  const std::int64_t pace_us = words.number("pace_us", 0);
  const bool moves = words.number("migrate") != 0;
  std::int64_t left = words.number("count", INT64_MAX);
  lane.starts.fetch_add(1);
  if (words.number("hold") != 0) wait_for_go(log);
  const std::int64_t until = now_ns() + words.number("ms", 60'000) * 1'000'000;
  for (std::uint64_t round = 0; !log.stopped() && left > 0; ++round) {
    const std::int64_t begin = now_ns();
    const weir_status status = priority == WEIR_CRITICAL
                                   ? weir_try_acquire(opened->limit, n)
                                   : weir_try_acquire_class(opened->limit, n, priority);
    const std::int64_t end = now_ns();
    if (status == WEIR_ALLOW) {
      --left;
      if (!log.append(index, {begin, end, n})) return 4;
    }
    lane.calls.fetch_add(1, std::memory_order_relaxed);
    if (status == WEIR_DENY) lane.denied.fetch_add(1, std::memory_order_relaxed);
    if (status < 0) {
      lane.errors.fetch_add(1);
      lane.last_error.store(status);
    }
    raise_to(lane.longest_call_ns, end - begin);
    lane.last_call_ns.store(end, std::memory_order_relaxed);
    if (status == WEIR_DENY) pause_us(idle_us);
    pause_us(pace_us);
    if (moves && round % 16 == 0) migrate(round / 16);
    if (end > until) break;
  }
  weir_close(opened->client);
  return 0;
}

int count(const Words& words) {
  const CallLog log = CallLog::open(words.text("log"));
  Lane& lane = log.lane(static_cast<std::uint32_t>(words.number("lane")));
  const auto opened = open_limit(words);
  if (!opened) return 3;
  lane.starts.fetch_add(1);
  wait_for_go(log);
  lane.b.store(now_ns());
  std::int64_t admitted = 0;
  while (!log.stopped()) {
    constexpr int kCallsPerLook = 64;
    for (int i = 0; i < kCallsPerLook; ++i)
      if (weir_try_acquire(opened->limit, 1) == WEIR_ALLOW) ++admitted;
  }
  lane.c.store(now_ns());
  lane.a.store(admitted);
  weir_close(opened->client);
  return 0;
}

int attach(const Words& words) {
  const CallLog log = CallLog::open(words.text("log"));
  Lane& lane = log.lane(static_cast<std::uint32_t>(words.number("lane")));
  const std::string sock = words.text("sock");
  weir_options options{};
  options.struct_bytes = sizeof(options);
  options.socket_path = sock.c_str();
  options.require_agent = 1;
  options.connect_timeout_ms = 1000;
  const std::int64_t until = now_ns() + words.number("ms", 60'000) * 1'000'000;
  for (std::int64_t left = words.number("count", INT64_MAX);
       left > 0 && !log.stopped() && now_ns() < until; --left) {
    weir_client* client = nullptr;
    const weir_status status = weir_open(&options, &client);
    lane.calls.fetch_add(1);
    if (status == WEIR_OK) {
      lane.a.fetch_add(1);
      weir_close(client);
    } else {
      lane.b.fetch_add(1);
      lane.last_error.store(status);
    }
  }
  return 0;
}

int read(const Words& words) {
  const CallLog log = CallLog::open(words.text("log"));
  Lane& lane = log.lane(static_cast<std::uint32_t>(words.number("lane")));
  const auto opened = open_limit(words);
  if (!opened) return 3;
  unsigned long long valid[2][2] = {};
  std::sscanf(words.text("a0").c_str(), "%llu,%llu", &valid[0][0], &valid[0][1]);
  std::sscanf(words.text("a1").c_str(), "%llu,%llu", &valid[1][0], &valid[1][1]);
  while (!log.stopped()) {
    weir_limit_info info{};
    info.struct_bytes = sizeof(info);
    if (weir_limit_read(opened->limit, &info) != WEIR_OK) return 5;
    if (info.shared == 0 || info.amount == 0) continue;  // between two tables, four times
    lane.starts.store(1);
    if (info.amount == valid[0][0] && info.burst == valid[0][1])
      lane.a.fetch_add(1);
    else if (info.amount == valid[1][0] && info.burst == valid[1][1])
      lane.b.fetch_add(1);
    else
      lane.errors.fetch_add(1);
    lane.calls.fetch_add(1);
  }
  weir_close(opened->client);
  return 0;
}

int wait(const Words& words) {
  const CallLog log = CallLog::open(words.text("log"));
  const auto index = static_cast<std::uint32_t>(words.number("lane"));
  Lane& lane = log.lane(index);
  const auto opened = open_limit(words);
  if (!opened) return 3;
  const auto n = static_cast<uint32_t>(words.number("n", 1));
  const auto timeout_ns = static_cast<std::uint64_t>(words.number("timeout_ms", 1000)) * 1'000'000;
  lane.starts.fetch_add(1);
  if (words.number("hold") != 0) wait_for_go(log);
  for (std::int64_t round = words.number("count", 1); round > 0 && !log.stopped(); --round) {
    std::uint64_t waited = 0;
    const std::int64_t begin = now_ns();
    const weir_status status = weir_acquire(opened->limit, n, timeout_ns, &waited);
    const std::int64_t end = now_ns();
    lane.c.store(static_cast<std::int64_t>(waited));
    lane.b.store(end);
    lane.a.store(status);
    lane.calls.fetch_add(1);
    if (status == WEIR_ALLOW && !log.append(index, {begin, end, n})) return 4;
    if (status == WEIR_DENY) lane.denied.fetch_add(1);
    if (status < 0) lane.errors.fetch_add(1);
  }
  weir_close(opened->client);
  return 0;
}

int quota(const Words& words) {
  const CallLog log = CallLog::open(words.text("log"));
  Lane& lane = log.lane(static_cast<std::uint32_t>(words.number("lane")));
  const auto opened = open_limit(words);
  weir_quota* quota = nullptr;
  if (!opened || weir_quota_get(opened->client, words.text("quota").c_str(), &quota) != WEIR_OK)
    return 3;
  const std::string key = words.text("key");
  const auto most = static_cast<std::uint64_t>(words.number("most", 1));
  lane.starts.fetch_add(1);
  for (std::uint64_t round = lane.calls.load(); !log.stopped(); ++round) {
    lane.calls.store(round);
    const std::uint64_t n = 1 + round % most;
    weir_quota_permit permit;
    const weir_status status = weir_quota_acquire(quota, key.data(), key.size(), n, 200, &permit);
    if (status == WEIR_ALLOW) {
      lane.a.fetch_add(static_cast<std::int64_t>(n));
      lane.denied.store(0);
      if (round % 4 == 3) {
        lane.b.fetch_add(static_cast<std::int64_t>(n));
        weir_quota_end(&permit, WEIR_DONE_IGNORED, nullptr);
      } else if (round % 7 == 6) {
        lane.b.fetch_add(1);
        weir_quota_settle(&permit, n - 1, 0, nullptr);
        weir_quota_end(&permit, WEIR_DONE_OK, nullptr);
      } else {
        weir_quota_end(&permit, WEIR_DONE_OK, nullptr);
      }
    } else if (status == WEIR_DENY_SPENT) {
      lane.denied.fetch_add(1);
    } else {
      lane.errors.fetch_add(1);
      lane.last_error.store(status);
    }
    pause_us(log.go().load() == 0 ? words.number("pace_us", 0) : 0);
  }
  weir_close(opened->client);
  return 0;
}

int probe() {
  DIR* dir = ::opendir("/proc/self/fd");
  while (const struct dirent* entry = ::readdir(dir)) {
    const int fd = std::atoi(entry->d_name);
    if (entry->d_name[0] == '.' || fd <= 2 || fd == ::dirfd(dir)) continue;
    char target[256] = {};
    const std::string link = std::string("/proc/self/fd/") + entry->d_name;
    if (::readlink(link.c_str(), target, sizeof(target) - 1) > 0)
      std::printf("fd %d %s\n", fd, target);
  }
  ::closedir(dir);
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);)
    if (line.find("memfd:") != std::string::npos) std::printf("map %s\n", line.c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const std::string mode = argv[1];
  const Words words(argc, argv);
  if (mode == "spend") return spend(words);
  if (mode == "count") return count(words);
  if (mode == "attach") return attach(words);
  if (mode == "read") return read(words);
  if (mode == "wait") return wait(words);
  if (mode == "quota") return quota(words);
  if (mode == "probe") return probe();
  return 2;
}
