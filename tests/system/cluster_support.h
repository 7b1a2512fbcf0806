// A cluster of real processes on this host: a token server, agents in directories of their own, and
// demand at a steady pace from threads of the test.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/fixture.h"

namespace weir::test {

// A port that nobody has at this moment.
inline std::uint16_t free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in address {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof(address);
  EXPECT_EQ(::bind(fd, reinterpret_cast<struct sockaddr*>(&address), bytes), 0);
  EXPECT_EQ(::getsockname(fd, reinterpret_cast<struct sockaddr*>(&address), &bytes), 0);
  ::close(fd);
  return ntohs(address.sin_port);
}

// Short leases, so that a test sees several of their lives.
inline constexpr char kLease[] = "{ttl: 2s, tail: 2s, refresh: 250ms}";
inline constexpr std::int64_t kLeaseNs = 2'000'000'000;
inline constexpr std::int64_t kTailNs = 2'000'000'000;

struct ServerPlace {
  std::string address = "127.0.0.1";
  std::vector<std::string> before = {};  // words before the command, such as ip netns exec NAME
  std::map<std::string, std::string> env = {};
};

// weir-server with one namespace.
class Server {
 public:
  explicit Server(std::vector<std::string> limits, ServerPlace place = {})
      : place_(std::move(place)), port_(free_port()), limits_(std::move(limits)) {
    write_rules();
  }
  ~Server() {
    process_.kill9();
    if (std::getenv("WEIR_TEST_SHOW_LOG") != nullptr)
      std::fputs(read_text(dir_ / "server.log").c_str(), stderr);
  }

  // As {name: db, max: 100}; before start().
  void set_concurrency(std::string list) {
    concurrency_ = std::move(list);
    write_rules();
  }
  void set_limits(std::vector<std::string> limits) {
    limits_ = std::move(limits);
    write_rules();
    process_.signal(SIGHUP);
  }
  void start() {
    SpawnOptions spawn;
    spawn.argv = place_.before;
    for (const std::string& word :
         {std::string{WEIR_BINARY_DIR "/bin/weir-server"}, dir_ / "server.yaml",
          std::string{"--log-level"}, std::string{"info"}, std::string{"--log-format"},
          std::string{"text"}})
      spawn.argv.push_back(word);
    spawn.env = place_.env;
    spawn.output = dir_ / "server.log";
    process_ = Process::spawn(spawn);
  }
  void kill9() { process_.kill9(); }
  // As an operator stops it; the exit code.
  int stop() {
    process_.signal(SIGTERM);
    return process_.exit_code();
  }
  void freeze() { process_.signal(SIGSTOP); }
  void thaw() { process_.signal(SIGCONT); }
  std::string address() const { return place_.address + ":" + std::to_string(port_); }
  std::string log() const { return read_text(dir_ / "server.log"); }

 private:
  void write_rules() const {
    std::string text =
        "version: 1\nlisten: " + address() +
        "\ninsecure: true\nhttp: off\nstate_dir: " + dir_.path() + "\nlease: " + kLease +
        "\nnamespaces:\n  default:\n    limits:" + (limits_.empty() ? " []\n" : "\n");
    for (const std::string& limit : limits_)
      text += "      - {" + limit + "}\n";
    if (!concurrency_.empty()) text += "    concurrency: [" + concurrency_ + "]\n";
    write_text(dir_ / "server.yaml", text);
  }

  TempDir dir_;
  ServerPlace place_;
  std::uint16_t port_;
  std::vector<std::string> limits_;
  std::string concurrency_;
  Process process_;
};

// An agent's rules with a server elsewhere.
inline std::string rules_at(const std::string& server, const std::string& host) {
  return "version: 1\ndomains:\n  - {name: default, allow: {users: [65534]}}\nserver: " + server +
         "\ncluster: {host: " + host + "}\nlimits: []\n";
}
// And with its own.
inline std::string rules_embedded(const std::vector<std::string>& limits, const std::string& host,
                                  const std::string& listen = "") {
  std::string text =
      "version: 1\ndomains:\n  - {name: default, allow: {users: [65534]}}\n"
      "cluster: {host: " +
      host + ", lease: " + kLease;
  if (!listen.empty()) text += ", listen: " + listen;
  text += "}\nlimits:\n";
  for (const std::string& limit : limits)
    text += "  - {" + limit + ", scope: cluster}\n";
  return text;
}

inline bool wait_answering(const Agent& agent) {
  return eventually([&] {
    const v1::StatusResponse status = agent.status();
    return status.upstream().answering() && !status.upstream().learning();
  });
}

// Calls at a steady pace from a thread of its own; what is missed is caught up with, up to a bound.
class Demand {
 public:
  Demand(const Agent& agent, double per_s, const std::string& limit = "/t")
      : client_(agent.socket()), limit_(client_.limit(limit)), per_s_(per_s) {
    thread_ = std::thread([this] { run(); });
  }
  ~Demand() { stop(); }
  Demand(const Demand&) = delete;
  Demand& operator=(const Demand&) = delete;

  void stop() {
    stopped_ = true;
    if (thread_.joinable()) thread_.join();
  }
  // Admitted so far.
  std::uint64_t admitted() const { return admitted_.load(); }
  std::int64_t longest_ns() const { return longest_ns_.load(); }
  void forget_longest() { longest_ns_ = 0; }
  // Once it has stopped.
  const std::vector<Admission>& admissions() const { return admissions_; }
  const std::vector<std::int64_t>& durations() const { return durations_; }

 private:
  void run() {
    const auto gap_ns = static_cast<std::int64_t>(1e9 / per_s_);
    std::int64_t next = now_ns();
    while (!stopped_) {
      const std::int64_t begin = now_ns();
      if (begin < next) {
        const struct timespec pause {
          0, static_cast<long>(std::min<std::int64_t>(next - begin, 20'000'000))
        };
        ::nanosleep(&pause, nullptr);
        continue;
      }
      next = std::max(next + gap_ns, begin - 200'000'000);
      const std::int64_t call = now_ns();
      const weir_status status = weir_try_acquire(limit_, 1);
      const std::int64_t end = now_ns();
      durations_.push_back(end - call);
      if (end - call > longest_ns_) longest_ns_ = end - call;
      if (status != WEIR_ALLOW) continue;
      admissions_.push_back({call, end, 1});
      ++admitted_;
    }
  }

  Client client_;
  weir_limit* limit_;
  double per_s_;
  std::atomic<bool> stopped_{false};
  std::atomic<std::uint64_t> admitted_{0};
  std::atomic<std::int64_t> longest_ns_{0};
  std::vector<Admission> admissions_;
  std::vector<std::int64_t> durations_;
  std::thread thread_;
};

// What each admits a second, over a stretch of time.
template <class Demands>
std::vector<double> rates_over(Demands& demands, double seconds) {
  std::vector<std::uint64_t> before;
  for (auto& demand : demands)
    before.push_back(demand->admitted());
  const std::int64_t from = now_ns();
  ::usleep(static_cast<useconds_t>(seconds * 1e6));
  const double passed = static_cast<double>(now_ns() - from) / 1e9;
  std::vector<double> rates;
  for (std::size_t i = 0; i < demands.size(); ++i)
    rates.push_back(static_cast<double>(demands[i]->admitted() - before[i]) / passed);
  return rates;
}

// All of the cluster's admissions against the limit.
template <class Demands>
void expect_cluster_bound(Demands& demands, const OracleRule& rule, const std::string& what) {
  std::vector<Admission> all;
  for (auto& demand : demands) {
    demand->stop();
    all.insert(all.end(), demand->admissions().begin(), demand->admissions().end());
  }
  const OracleVerdict verdict = check_bound(all, rule);
  if (!verdict.holds) {
    const std::int64_t start_ns = demands.front()->admissions().front().begin_ns;
    std::printf("[ oracle   ] the worst window is %.3f s to %.3f s after the first admission:",
                static_cast<double>(verdict.from_ns - start_ns) / 1e9,
                static_cast<double>(verdict.to_ns - start_ns) / 1e9);
    for (auto& demand : demands)
      std::printf(" %td", std::count_if(demand->admissions().begin(), demand->admissions().end(),
                                        [&](const Admission& each) {
                                          return each.begin_ns >= verdict.from_ns &&
                                                 each.end_ns <= verdict.to_ns;
                                        }));
    std::printf("\n");
  }
  EXPECT_TRUE(verdict.holds) << what << ": " << verdict.over_tokens
                             << " tokens over burst + rate x window, in a window of "
                             << static_cast<double>(verdict.to_ns - verdict.from_ns) / 1e6 << " ms";
  std::printf("[ oracle   ] %s: %llu admitted, %.1f tokens %s the bound\n", what.c_str(),
              static_cast<unsigned long long>(verdict.admitted),
              verdict.over_tokens < 0 ? -verdict.over_tokens : verdict.over_tokens,
              verdict.over_tokens <= 0 ? "below" : "OVER");
}

}  // namespace weir::test
