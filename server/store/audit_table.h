// The audit log's rows in a database: written in batches, read in pages, removed by age.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>

#include <cstdint>
#include <memory>
#include <string>

#include "server/store/store.h"

namespace weir::server {

// On one connection; throws what SQLite says.
class AuditTable {
 public:
  explicit AuditTable(SQLite::Database& db) : db_(db) {}

  // Within the caller's transaction.
  void insert(const std::string& name_space, const std::string& key,
              const lease::QuotaEvent& event);
  // Whether this batch is not in the log yet; from then on it is. Within the caller's transaction.
  bool begin_batch(const AuditRow& first);
  AuditPage page(const AuditQuery& query);
  // The oldest rows before that time, at most so many; how many there were.
  std::uint64_t remove(std::int64_t before_wall_ms, std::uint32_t rows_max);

 private:
  SQLite::Database& db_;
  std::unique_ptr<SQLite::Statement> insert_, remove_, batch_, forget_;
};

// Numbers that outlive the server, in the table `meta`.
std::int64_t read_meta(SQLite::Database& db, const char* name);
void write_meta(SQLite::Database& db, const char* name, std::int64_t value);

}  // namespace weir::server
