// The token server in the agent's own process, on a thread and an event loop of its own: whatever
// it does, the agent's tick does not wait for it.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "rules/cluster.h"
#include "server/store/sqlite_store.h"
#include "server/token_server.h"

namespace weir::agent {

class EmbeddedServer {
 public:
  // `owner` is the agent's own loop, on which answers arrive.
  explicit EmbeddedServer(boost::asio::io_context& owner);
  ~EmbeddedServer();  // stops it
  EmbeddedServer(const EmbeddedServer&) = delete;
  EmbeddedServer& operator=(const EmbeddedServer&) = delete;

  // Waits until it listens, or says why it cannot.
  [[nodiscard]] std::string start(const ServerRules& rules, const std::string& version);
  // `done` gets what was wrong, or nothing.
  void apply(const ServerRules& rules, std::function<void(const std::string&)> done);
  // Says goodbye to agents of other hosts and ends. Waits for it, half a second at most.
  void stop();

  // As of at most a second ago.
  std::shared_ptr<const server::ServerStatus> status() const;

 private:
  std::string open_store(const ServerRules& rules);
  void take_status();
  void refresh();
  void end_when_drained(int polls_left);

  boost::asio::io_context& owner_;
  boost::asio::io_context io_;
  std::unique_ptr<server::SqliteStore> store_;   // of the quotas, where there are any
  std::unique_ptr<server::TokenServer> server_;  // of the thread
  std::thread thread_;
  mutable std::mutex mutex_;  // of status_, which both threads take for an instant
  std::shared_ptr<const server::ServerStatus> status_;
};

}  // namespace weir::agent
