// The store in one file of SQLite. One thread writes: whatever has come up since its last commit
// goes into the next one, so that many who wait share one sync of the disk. Another one reads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "server/store/sqlite_file.h"
#include "server/store/store.h"

namespace weir::server {

struct SqliteOptions {
  FileOptions file;
  Post post;
  std::size_t group_max = 1'000;      // transactions in one commit
  std::size_t commits_max = 200'000;  // that wait; more are refused as failed
  std::uint32_t audit_batch_rows = 500;
  std::uint32_t audit_flush_ms = 500;  // at most kAuditFlushMsMax
  std::size_t audit_queue_rows = 10'000;
  std::uint32_t retention_days = 180;  // 0: rows are kept for ever
  std::uint32_t clean_every_h = 24;
  std::uint32_t clean_batch_rows = 10'000;
};
inline constexpr std::uint32_t kAuditFlushMsMax = 5'000;

using SqliteStats = StoreStats;

class SqliteStore final : public QuotaStore, public AuditLog {
 public:
  // Empty, or why not. Waits for the disk.
  static std::string open(SqliteOptions options, std::unique_ptr<SqliteStore>& store);
  ~SqliteStore() override;  // writes what waits, then closes

  StoreStats stats() const override;
  void commit(const std::string& name_space,
              std::shared_ptr<const lease::QuotaTransaction> transaction,
              std::function<void(const CommitResult&)> done) override;
  void load(const std::string& name_space, const std::string& key,
            std::function<void(LoadResult)> done) override;
  void agents(const std::string& name_space, std::function<void(AgentResult)> done) override;
  void keys_of(const std::string& name_space, std::uint64_t agent_epoch, const std::string& after,
               std::uint32_t rows_max, std::function<void(KeysResult)> done) override;
  void page(const QuotaQuery& query, std::function<void(QuotaPage)> done) override;

  bool offer(std::vector<AuditRow>& rows) override;
  void on_space(std::function<void()> call) override;
  void page(const AuditQuery& query, std::function<void(AuditPage)> done) override;
  AuditStats audit_stats() const override;
  CleanStats clean_stats() const override;
  void tick(std::int64_t wall_ms) override;
  void clean_now(std::int64_t wall_ms, std::function<void(CleanStats)> done) override;

 private:
  class Reader;
  class Writer;
  SqliteStore();

  StoreLock lock_;
  std::unique_ptr<Writer> writer_;
  std::unique_ptr<Reader> reader_;
};

}  // namespace weir::server
