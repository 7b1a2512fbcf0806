// A token server with a store of quotas, a look into its books, and processes' worth of demand.
#pragma once

#include <sqlite3.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "lease/quota.h"
#include "tests/system/cluster_support.h"
#include "weir/quota.h"

namespace weir::test {

using lease::Units;

struct Books {
  Units total = 0, remaining = 0, consumed = 0, lost = 0, held = -1;
};

struct AuditLine {
  lease::QuotaAction action{};
  std::string host, process, outcome;
  Units amount = 0;
};

// weir-server with one namespace, its store in a directory that outlives its kills.
class QuotaServer {
 public:
  explicit QuotaServer(const std::string& quota) : port_(free_port()) {
    write_text(dir_ / "server.yaml",
               "version: 1\nlisten: " + address() +
                   "\ninsecure: true\nhttp: off\nstate_dir: " + dir_.path() + "\nlease: " + kLease +
                   "\nstore: {unsafe: true}\nnamespaces:\n  default:\n    quotas:\n      - " +
                   quota + "\n");
  }
  ~QuotaServer() {
    process_.kill9();
    if (std::getenv("WEIR_TEST_SHOW_LOG") != nullptr)
      std::fputs(read_text(dir_ / "server.log").c_str(), stderr);
  }
  void start() {
    SpawnOptions spawn;
    spawn.argv = {WEIR_BINARY_DIR "/bin/weir-server",
                  dir_ / "server.yaml",
                  "--log-level",
                  "info",
                  "--log-format",
                  "text"};
    spawn.output = dir_ / "server.log";
    process_ = Process::spawn(spawn);
  }
  void kill9() { process_.kill9(); }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  // What is on the disk now. A key that is not there has books of nothing.
  Books books(const std::string& name, const std::string& key) const {
    Books books;
    query("SELECT total, remaining, consumed, lost FROM quota WHERE key = ?",
          lease::quota_key(name, key), [&](sqlite3_stmt* row) {
            books.total = sqlite3_column_int64(row, 0);
            books.remaining = sqlite3_column_int64(row, 1);
            books.consumed = sqlite3_column_int64(row, 2);
            books.lost = sqlite3_column_int64(row, 3);
            books.held = books.total - books.remaining - books.consumed - books.lost;
          });
    return books;
  }
  // Stops the agent, which gives everything back, and waits until the server has heard so.
  Books books_at_rest(Agent& agent, const std::string& name, const std::string& key) const {
    EXPECT_TRUE(agent.stop());
    EXPECT_TRUE(eventually([&] { return books(name, key).held == 0; }));
    return books(name, key);
  }
  std::vector<AuditLine> audit(const std::string& name, const std::string& key) const {
    std::vector<AuditLine> lines;
    query("SELECT action, host, process, amount, outcome FROM audit WHERE key = ? ORDER BY id",
          lease::quota_key(name, key), [&](sqlite3_stmt* row) {
            const auto text = [row](int at) {
              const unsigned char* value = sqlite3_column_text(row, at);
              return std::string(value == nullptr ? "" : reinterpret_cast<const char*>(value));
            };
            lines.push_back({static_cast<lease::QuotaAction>(sqlite3_column_int(row, 0)), text(1),
                             text(2), text(4), sqlite3_column_int64(row, 3)});
          });
    return lines;
  }

 private:
  template <class Row>
  void query(const char* sql, const std::string& key, Row&& row) const {
    sqlite3* db = nullptr;
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_open_v2((dir_ / "quotas.db").c_str(), &db, SQLITE_OPEN_READWRITE, nullptr) ==
        SQLITE_OK) {
      sqlite3_busy_timeout(db, 2'000);
      EXPECT_EQ(sqlite3_prepare_v2(db, sql, -1, &statement, nullptr), SQLITE_OK);
      sqlite3_bind_text(statement, 1, key.data(), static_cast<int>(key.size()), nullptr);
      while (sqlite3_step(statement) == SQLITE_ROW)
        row(statement);
    }
    sqlite3_finalize(statement);
    sqlite3_close(db);
  }

  TempDir dir_;
  std::uint16_t port_;
  Process process_;
};

// Of all rows with that action, and that outcome unless it is empty.
inline Units sum_of(const std::vector<AuditLine>& lines, lease::QuotaAction action,
                    const std::string& outcome) {
  Units sum = 0;
  for (const AuditLine& line : lines)
    if (line.action == action && (outcome.empty() || line.outcome == outcome)) sum += line.amount;
  return sum;
}

inline weir_status acquire(weir_quota* quota, const std::string& key, std::uint64_t units,
                           std::uint32_t timeout_ms) {
  return weir_quota_acquire(quota, key.data(), key.size(), units, timeout_ms, nullptr);
}

// Unit by unit until there are none for two seconds.
inline std::uint64_t take_all(weir_quota* quota, const std::string& key) {
  std::uint64_t taken = 0;
  while (acquire(quota, key, 1, 2'000) == WEIR_ALLOW)
    ++taken;
  return taken;
}

// Takes units one by one from a thread of its own, at about a thousand a second at most.
class Spender {
 public:
  Spender(const Agent& agent, const std::string& name, std::string key)
      : client_(agent.socket()), key_(std::move(key)) {
    EXPECT_EQ(weir_quota_get(client_.get(), name.c_str(), &quota_), WEIR_OK);
    thread_ = std::thread([this] { run(); });
  }
  ~Spender() { stop(); }
  Spender(const Spender&) = delete;
  Spender& operator=(const Spender&) = delete;

  void stop() {
    stopped_ = true;
    if (thread_.joinable()) thread_.join();
  }
  Units taken() const { return taken_.load(); }

 private:
  void run() {
    while (!stopped_) {
      if (acquire(quota_, key_, 1, 100) == WEIR_ALLOW) ++taken_;
      ::usleep(1'000);
    }
  }
  Client client_;
  std::string key_;
  weir_quota* quota_ = nullptr;
  std::atomic<bool> stopped_{false};
  std::atomic<Units> taken_{0};
  std::thread thread_;
};

inline Units sum_taken(const std::vector<std::unique_ptr<Spender>>& spenders) {
  Units sum = 0;
  for (const auto& spender : spenders)
    sum += spender->taken();
  return sum;
}

}  // namespace weir::test
