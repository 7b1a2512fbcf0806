// The agent as a whole: one thread, one event loop, a tick.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "agent/admin/server.h"
#include "agent/attach/server.h"
#include "agent/cpu/sampler.h"
#include "agent/domain.h"
#include "agent/upstream/cluster.h"
#include "daemon/http/server.h"
#include "daemon/log/log.h"
#include "daemon/notify/notify.h"
#include "daemon/program/exit_codes.h"
#include "daemon/watch/file_watch.h"
#include "rules/diff.h"
#include "rules/parse.h"

namespace weir::agent {

struct AppOptions {
  std::string runtime_dir = "/run/weir";
  std::string rules_file = "/etc/weir/rules.yaml";
  std::string http = "127.0.0.1:9464";  // or "off"
  std::string state_dir;                // of an embedded server; empty: see state_dir()
  std::uint32_t clients_max = 1024;
  std::uint32_t resources_max = kResourcesPerDomainDefault;
  std::uint32_t quota_keys = kQuotaKeysDefault;
  CpuFollow cpu_follow = CpuFollow::busier;
};

inline constexpr std::int64_t kTickActiveNs = 1'000'000;
inline constexpr std::int64_t kTickIdleNs = 50'000'000;
// Between the two: what is in use is well filled, and whoever is refused by it rings.
inline constexpr std::int64_t kTickCalmNs = 48'000'000;
inline constexpr std::int64_t kIdleAfterNs = 500'000'000;
inline constexpr std::int64_t kTickLateNs = 5'000'000;

// How long ticks took, in powers of two of nanoseconds: enough for a median and a p99.
class TickTimes {
 public:
  void add(std::int64_t duration_ns) noexcept;
  std::uint64_t quantile_ns(double share) const noexcept;

 private:
  std::array<std::uint64_t, 64> counts_{};
  std::uint64_t total_ = 0;
};

struct ServedDomain {
  std::unique_ptr<Domain> domain;
  std::unique_ptr<AttachServer> server;
};

// Of this start of the host; empty where it cannot be read.
std::string boot_id();

class App {
 public:
  explicit App(AppOptions options);
  ~App();
  int run();

  // For the admin socket, the metrics and the log.
  void fill_status(v1::StatusResponse& status) const;
  void fill_limits(const v1::LimitsRequest& request, v1::LimitsResponse& limits) const;
  void fill_clients(v1::ClientsResponse& clients) const;
  void fill_resources(const v1::ResourcesRequest& request, v1::ResourcesResponse& resources) const;
  void fill_quotas(const v1::QuotasRequest& request, v1::QuotasResponse& quotas) const;
  void apply(const v1::ApplyRequest& request, v1::ApplyResponse& response);

 private:
  int prepare();
  int take_lock();
  bool seen_before();
  std::string serve_domain(const DomainRule& rule, std::vector<InheritedFd>& inherited);
  void store_fds(const Domain& domain);
  std::string start_http();
  void answer(const v1::AdminRequest& request, bool may_change, const AdminServer::Reply& reply);
  void ask_cluster(const v1::ClusterQuery& query, const AdminServer::Reply& reply);
  void force(const v1::AdminRequest& request, v1::AdminResponse& response);
  void fill_cpu_status(v1::CpuStatus& cpu) const;
  void fill_upstream(v1::UpstreamStatus& status) const;
  std::string server_metrics() const;
  std::string toolkit_metrics() const;
  std::string quota_metrics() const;

  void schedule_tick();
  void on_tick();
  void wake();
  void hurry();
  std::int64_t next_tick_due_ns(std::int64_t began_ns) const;
  void housekeeping(std::int64_t now_ns);
  void sample_cpu(std::int64_t now_ns);
  void wait_signal();
  void watch_rules_file();
  void reload(const char* why);
  ServedDomain* find_domain(const std::string& name);
  bool put_in_force(const RuleSet& rules, std::vector<std::string>& problems);
  DomainRule with_cluster(const DomainRule& rule, const ClusterRule& cluster);
  bool publish(ServedDomain& served, const DomainRule& rule);
  std::string start_cluster(const ClusterRule& rule);
  std::string change_cluster(const ClusterRule& rule);
  void take_cluster_limits();
  std::string state_dir() const;
  void stop();
  void finish_stop(std::int64_t until_ns, bool unused);

  AppOptions options_;
  boost::asio::io_context io_;
  boost::asio::steady_timer timer_;
  boost::asio::signal_set signals_;
  FileWatch watch_;
  Notifier notifier_;
  shm::Fd lock_;
  RuleSet rules_;
  std::vector<ServedDomain> domains_;
  std::unique_ptr<Cluster> cluster_;
  std::unique_ptr<AdminServer> admin_;
  std::unique_ptr<HttpServer> http_;
  SystemFileReader files_;
  std::unique_ptr<CpuSampler> cpu_;

  std::uint64_t agent_epoch_ = 0;
  std::int64_t started_ns_ = 0;
  std::int64_t rules_loaded_ns_ = 0;
  std::uint64_t rules_generation_ = 0;
  std::string rules_error_;
  bool ran_before_ = false;
  bool running_ = false;

  std::int64_t next_tick_ns_ = 0;
  std::int64_t ticked_ns_ = 0;
  std::int64_t last_spent_ns_ = 0;
  std::int64_t next_housekeeping_ns_ = 0;
  std::int64_t next_cpu_ns_ = 0;
  std::int64_t next_watchdog_ns_ = 0;
  std::int64_t watchdog_ns_ = 0;
  bool sleeping_ = false;
  std::uint64_t ticks_total_ = 0;
  std::uint64_t ticks_late_total_ = 0;
  TickTimes tick_times_;
};

}  // namespace weir::agent
