// The thread that writes: group commit, the audit queue, the cleaner.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "server/store/audit_table.h"
#include "server/store/sqlite_store.h"

namespace weir::server {

class SqliteStore::Writer {
 public:
  Writer(SqliteOptions options, std::unique_ptr<SQLite::Database> db, std::string durability);
  ~Writer();

  struct Commit {
    std::string name_space;
    std::shared_ptr<const lease::QuotaTransaction> transaction;
    std::function<void(const CommitResult&)> done;
  };
  void commit(Commit commit);
  bool offer(std::vector<AuditRow>& rows);
  void on_space(std::function<void()> call);
  void tick(std::int64_t wall_ms);
  void clean_now(std::int64_t wall_ms, std::function<void(CleanStats)> done);

  SqliteStats stats() const;
  AuditStats audit_stats() const;
  CleanStats clean_stats() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Statements;
  struct Round {  // what goes into one commit
    std::vector<Commit> commits;
    std::vector<AuditRow> rows;
    bool clean = false;
    std::uint64_t removed = 0;
    std::vector<CommitResult> results;
  };

  void run();
  bool due(Clock::time_point now) const;
  Clock::time_point next_due() const;
  void take(Round& round);
  void write(Round& round);
  void write_all(Round& round);
  void write_alone(Round& round);
  CommitResult apply(const std::string& name_space, const lease::QuotaTransaction& transaction);
  void insert_rows(const Round& round);
  void finish(Round& round, bool stored);
  void after_clean(std::uint64_t removed, bool failed);
  void give_back_rows(Round& round);
  void recover();
  void failed(const std::string& why);

  SqliteOptions options_;
  std::unique_ptr<SQLite::Database> db_;
  std::unique_ptr<Statements> statements_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Commit> commits_;
  std::deque<AuditRow> rows_;
  Clock::time_point rows_since_;
  std::vector<std::function<void()>> wants_space_;
  std::vector<std::function<void(CleanStats)>> wants_clean_;
  std::int64_t clean_before_ = 0;
  Clock::time_point retry_at_;  // after a failure of the audit log's own writing
  std::int64_t wall_ms_ = 0;
  std::size_t writing_rows_ = 0;
  bool stop_ = false;
  SqliteStats stats_;
  AuditStats audit_;
  CleanStats clean_;
  std::thread thread_;
};

}  // namespace weir::server
