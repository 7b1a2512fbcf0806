// weir-server as a process: one thread that serves, one that writes its state.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <memory>
#include <string>

#include "daemon/http/server.h"
#include "daemon/notify/notify.h"
#include "daemon/program/exit_codes.h"
#include "daemon/watch/file_watch.h"
#include "rules/parse.h"
#include "server/api/api.h"
#include "server/etcd/cluster.h"
#include "server/etcd/quota_store.h"
#include "server/store/sqlite_store.h"
#include "server/token_server.h"

namespace weir::server {

struct AppOptions {
  std::string file = "/etc/weir/server.yaml";
  std::string name;  // empty: the host's
  // In place of what the file says; empty: as the file says.
  std::string http;
  std::string state_dir;
};

class App {
 public:
  explicit App(AppOptions options);
  ~App();
  int run();

 private:
  using Clock = std::chrono::steady_clock;

  int prepare();
  std::string join_cluster(ServerRules& rules);
  void apply_options(ServerRules& rules) const;
  std::string open_store(const ServerRules& rules);
  std::string start_http(const ServerRules& rules);
  void wait_signal();
  void watch_file();
  void reload(const char* why);
  void schedule();
  void on_timer();
  void stop();
  void finish_stop(Clock::time_point until);

  AppOptions options_;
  boost::asio::io_context io_{1};
  boost::asio::steady_timer timer_;
  boost::asio::signal_set signals_;
  FileWatch watch_;
  Notifier notifier_;
  std::unique_ptr<SqliteStore> store_;      // outlives the server
  std::unique_ptr<etcd::Cluster> cluster_;  // none: this server stands alone
  std::unique_ptr<etcd::EtcdQuotaStore> shared_store_;
  std::unique_ptr<TokenServer> server_;
  std::unique_ptr<Api> api_;
  std::unique_ptr<HttpServer> http_;
  Clock::time_point next_watchdog_;
  std::chrono::nanoseconds watchdog_{0};
  bool reload_good_ = true;
  bool rules_in_etcd_ = false;
  bool resigned_ = true;
};

}  // namespace weir::server
