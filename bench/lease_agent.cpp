// What an agent costs whose thousand limits are all leased and all in use.
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "bench/host.h"
#include "bench/lease_bench.h"
#include "rules/parse.h"
#include "server/token_server.h"
#include "weir/weir.h"

namespace weir::bench {
namespace {

constexpr int kLimits = 1000;
constexpr int kSlicesASecond = 100;  // each calls every tenth limit once: ten calls a second each
constexpr int kStepOfSlice = 10;
constexpr double kCpuBarPercent = 2;
constexpr double kMemoryBarMib = 64;

std::string name_of(int limit) { return "bench/leased/" + std::to_string(limit); }

std::string server_rules(const std::string& socket) {
  std::ostringstream text;
  text << "version: 1\nlisten: 'unix:" << socket << "'\nhttp: off\nnamespaces:\n  default:\n"
       << "    limits:\n";
  for (int i = 0; i < kLimits; ++i)
    text << "      - {name: " << name_of(i) << ", rate: 100/s, burst: 100}\n";
  return text.str();
}

double resident_mib(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/status");
  std::string line;
  while (std::getline(file, line))
    if (line.starts_with("VmRSS:")) return std::stod(line.substr(6)) / 1024;
  return 0;
}

double median_of(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

// A token server in a thread of this process.
class ServerThread {
 public:
  explicit ServerThread(ServerRules rules) {
    server_ = std::make_shared<server::TokenServer>(
        io_, server::ServerOptions{.name = {}, .version = {}, .reconnect_ns = 0});
    started_ = static_cast<bool>(server_->start(rules));
    thread_ = std::thread([this] { io_.run(); });
  }
  ~ServerThread() {
    io_.stop();
    thread_.join();
    server_.reset();
  }
  ServerThread(const ServerThread&) = delete;
  ServerThread& operator=(const ServerThread&) = delete;
  bool started() const { return started_; }

 private:
  boost::asio::io_context io_;
  std::shared_ptr<server::TokenServer> server_;
  std::thread thread_;
  bool started_ = false;
};

// Programs that use all limits, each some times a second.
class Load {
 public:
  bool open(const std::string& socket) {
    weir_options options{};
    options.struct_bytes = sizeof(options);
    options.socket_path = socket.c_str();
    if (weir_open(&options, &client_) != WEIR_OK) return false;
    limits_.resize(kLimits);
    for (int i = 0; i < kLimits; ++i)
      if (weir_limit_get(client_, name_of(i).c_str(), nullptr,
                         &limits_[static_cast<std::size_t>(i)]) != WEIR_OK)
        return false;
    return true;
  }
  ~Load() { weir_close(client_); }
  // Until the rules have come from the server, and with them a lease for each.
  bool wait_for_leases() {
    constexpr int kRoundsMax = 600;
    std::vector<bool> served(kLimits);
    int missing = kLimits;
    for (int round = 0; round < kRoundsMax && missing > 0; ++round) {
      for (std::size_t i = 0; i < kLimits; ++i) {
        if (served[i] || weir_try_acquire(limits_[i], 1) != WEIR_ALLOW) continue;
        served[i] = true;
        --missing;
      }
      ::usleep(100'000);
    }
    return missing == 0;
  }
  void run(double seconds) {
    const int slices = static_cast<int>(seconds * kSlicesASecond);
    for (int slice = 0; slice < slices; ++slice) {
      for (int i = slice % kStepOfSlice; i < kLimits; i += kStepOfSlice)
        admitted_ +=
            weir_try_acquire(limits_[static_cast<std::size_t>(i)], 1) == WEIR_ALLOW ? 1 : 0;
      ::usleep(1'000'000 / kSlicesASecond);
    }
  }
  std::uint64_t admitted() const { return admitted_; }

 private:
  weir_client* client_ = nullptr;
  std::vector<weir_limit*> limits_;
  std::uint64_t admitted_ = 0;
};

LeaseRow row_of(std::string name, std::string unit, double value, double bar, std::string note) {
  LeaseRow row;
  row.name = std::move(name);
  row.floor = "the bar";
  row.unit = std::move(unit);
  row.ns_median = value;
  row.floor_ns_median = bar;
  row.ratio = row.ratio_p10 = row.ratio_p90 = value / bar;
  row.bar = 1;
  row.more_is_better = false;
  row.note = std::move(note);
  return row;
}

}  // namespace

std::vector<LeaseRow> measure_lease_agent(bool quick) {
  std::string dir = (std::filesystem::temp_directory_path() / "weir-bench-XXXXXX").string();
  if (::mkdtemp(dir.data()) == nullptr) return {};
  const std::string socket = dir + "/server.sock";
  auto parsed = parse_server_rules(server_rules(socket), "bench");
  for (const Problem& problem : parsed.problems)
    std::fprintf(stderr, "%s\n", to_string(problem).c_str());
  if (!parsed.rules) return {};
  parsed.rules->state_dir.clear();

  std::vector<LeaseRow> rows;
  {
    const ServerThread server(std::move(*parsed.rules));
    AgentProcess agent;
    if (!server.started() ||
        !agent.start(default_agent_path(), "version: 1\nserver: 'unix:" + socket + "'\n")) {
      std::fprintf(stderr, "bench: %s\n", agent.error().c_str());
      return {};
    }
    Load load;
    if (!load.open(agent.socket_path()) || !load.wait_for_leases()) {
      std::fprintf(stderr, "bench: no leases came from the server\n");
      return {};
    }
    load.run(4);
    std::vector<double> percents;
    const std::uint64_t admitted = load.admitted();
    const int rounds = quick ? 5 : 20;
    for (int round = 0; round < rounds; ++round) {
      struct timespec begin {};
      struct timespec end {};
      ::clock_gettime(CLOCK_MONOTONIC, &begin);
      const std::uint64_t cpu_ns = agent.cpu_ns();
      load.run(1);
      ::clock_gettime(CLOCK_MONOTONIC, &end);
      const double passed_ns = static_cast<double>(end.tv_sec - begin.tv_sec) * 1e9 +
                               static_cast<double>(end.tv_nsec - begin.tv_nsec);
      percents.push_back(static_cast<double>(agent.cpu_ns() - cpu_ns) * 100 / passed_ns);
    }
    char note[80];
    std::snprintf(note, sizeof(note), "%.1f admitted a second and limit",
                  static_cast<double>(load.admitted() - admitted) / rounds / kLimits);
    rows.push_back(row_of("active_agent_cpu", "%", median_of(percents), kCpuBarPercent, note));
    rows.push_back(
        row_of("active_agent_memory", "MiB", resident_mib(agent.pid()), kMemoryBarMib, "resident"));
  }
  std::error_code ignored;
  std::filesystem::remove_all(dir, ignored);
  return rows;
}

}  // namespace weir::bench
