// Where the quotas' records and chunks outlive everything, and the audit log.
//
// Two small interfaces. One file of SQLite serves both (sqlite_store.h); where several servers
// share the quotas, etcd keeps these and the file of each server its part of the audit log.
//
// All calls return at once. What comes of them is told on the caller's own thread, through the
// `Post` that the store was opened with. Times of day are passed in.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lease/quota.h"

namespace weir::server {

// Runs a function on the caller's thread, soon. Called by the store's threads.
using Post = std::function<void(std::function<void()>)>;

enum class CommitOutcome : std::uint8_t {
  durable,
  conflict,  // another version is stored
  failed,    // surely not stored
  unknown,   // perhaps stored: send the same again
};

struct CommitResult {
  CommitOutcome outcome = CommitOutcome::failed;
  std::uint64_t version = 0;  // of the record, when it is durable
  std::string why;
};

struct LoadResult {
  std::optional<lease::QuotaLoaded> loaded;  // nothing: there is no such key
  std::string why;                           // not empty: it could not be read
};

struct AgentResult {
  std::vector<std::pair<std::uint64_t, std::string>> agents;  // epoch and host
  std::string why;
};

struct KeysResult {
  std::vector<std::string> keys;
  bool more = false;
  std::string why;
};

// A page of quotas in the order of their keys.
struct QuotaQuery {
  std::string name_space;
  std::string name;   // of the quota; empty: all
  std::string after;  // the key that the page before ended with
  std::uint32_t rows_max = 100;
  bool lost_only = false;  // with hosts that were lost
};
struct QuotaPage {
  struct Row {
    std::string key;
    lease::QuotaRecord record;
  };
  std::vector<Row> rows;
  bool more = false;
  std::string why;
};

struct StoreStats {
  std::string durability;  // what is in force, in one sentence
  bool degraded = false;   // the last write failed
  std::string last_error;
  std::size_t waiting = 0;
  std::uint64_t commits_total = 0;  // of the file: each is one sync
  std::uint64_t transactions_total = 0;
  std::uint64_t conflicts_total = 0;
  std::uint64_t failures_total = 0;
  std::uint64_t loads_total = 0;
  std::int64_t commit_us = 0;  // the last one
};

class QuotaStore {
 public:
  virtual ~QuotaStore() = default;

  virtual StoreStats stats() const = 0;

  // Of one key, the next one only after the first was answered.
  virtual void commit(const std::string& name_space,
                      std::shared_ptr<const lease::QuotaTransaction> transaction,
                      std::function<void(const CommitResult&)> done) = 0;
  virtual void load(const std::string& name_space, const std::string& key,
                    std::function<void(LoadResult)> done) = 0;
  // All agents that have chunks, and the keys of one of them: what a book must know of silence.
  virtual void agents(const std::string& name_space, std::function<void(AgentResult)> done) = 0;
  virtual void keys_of(const std::string& name_space, std::uint64_t agent_epoch,
                       const std::string& after, std::uint32_t rows_max,
                       std::function<void(KeysResult)> done) = 0;
  virtual void page(const QuotaQuery& query, std::function<void(QuotaPage)> done) = 0;
};

struct AuditRow {
  std::uint64_t id = 0;  // rises; 0 until it is stored
  std::string name_space;
  std::string key;
  lease::QuotaEvent event;
  // Of what a host reported: with these its batch is known, and a batch that comes again, perhaps
  // to another start of the server, is not written again. Rows of a batch are offered together.
  std::uint64_t agent_epoch = 0;
  std::uint64_t batch_no = 0;
};

struct AuditQuery {
  std::string name_space;  // empty: all
  std::string key;         // as quota_key() joins it; empty: all
  std::string action;      // as to_text() names it; empty: all
  std::int64_t from_wall_ms = 0;
  std::int64_t to_wall_ms = INT64_MAX;  // not included
  std::uint64_t before_id = 0;          // of the page before, the last; 0: from the newest on
  std::uint32_t page = 1;               // counted from there
  std::uint32_t page_size = 100;
};
inline constexpr std::uint32_t kPageRowsMax = 10'000;

struct AuditPage {
  std::vector<AuditRow> rows;  // the newest first
  bool more = false;
  std::string why;
};

struct AuditStats {
  std::size_t queued = 0;
  std::size_t capacity = 0;
  std::uint64_t offered_total = 0;
  std::uint64_t written_total = 0;
  std::uint64_t refused_total = 0;  // the queue was full; who offered them offers them again
  std::uint64_t dropped_total = 0;  // only when the store was closed and could not write
  std::uint64_t batches_total = 0;
  std::int64_t lag_ms = 0;  // of the oldest row that waits
};

struct CleanStats {
  bool on = false;
  bool running = false;
  std::int64_t last_run_wall_ms = 0;
  std::int64_t next_run_wall_ms = 0;
  std::uint64_t removed_last = 0;
  std::uint64_t removed_total = 0;  // since the store was made
  std::string last_error;
};

class AuditLog {
 public:
  virtual ~AuditLog() = default;

  // False when the queue is full: nothing was taken, and whoever makes such rows has to wait until
  // `on_space` calls. That slows consumers' reports down; it loses none.
  virtual bool offer(std::vector<AuditRow>& rows) = 0;
  virtual void on_space(std::function<void()> call) = 0;
  virtual void page(const AuditQuery& query, std::function<void(AuditPage)> done) = 0;
  virtual AuditStats audit_stats() const = 0;
  virtual CleanStats clean_stats() const = 0;
  // About every second: starts the cleaner when it is due.
  virtual void tick(std::int64_t wall_ms) = 0;
  virtual void clean_now(std::int64_t wall_ms, std::function<void(CleanStats)> done) = 0;
};

}  // namespace weir::server
