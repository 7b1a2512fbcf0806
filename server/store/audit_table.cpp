#include "server/store/audit_table.h"

#include <algorithm>

#include "server/store/rows.h"

namespace weir::server {

void AuditTable::insert(const std::string& name_space, const std::string& key,
                        const lease::QuotaEvent& event) {
  if (!insert_)
    insert_ = std::make_unique<SQLite::Statement>(
        db_,
        "INSERT INTO audit(at, ns, key, action, host, process, uid, amount, remains, outcome, "
        "key_hash) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  SQLite::Statement& row = *insert_;
  row.reset();
  row.bind(1, event.at_wall_ms);
  // The texts outlive the step: no copy is needed.
  row.bindNoCopy(2, name_space);
  row.bindNoCopy(3, key);
  row.bind(4, static_cast<std::int64_t>(event.action));
  row.bindNoCopy(5, event.host);
  row.bindNoCopy(6, event.process);
  row.bind(7, static_cast<std::int64_t>(event.uid));
  row.bind(8, event.amount);
  row.bind(9, event.left);
  row.bindNoCopy(10, event.outcome);
  row.bind(11, to_column(key_hash(name_space, key)));
  row.exec();
}

bool AuditTable::begin_batch(const AuditRow& first) {
  if (!batch_)
    batch_ = std::make_unique<SQLite::Statement>(
        db_,
        "INSERT INTO usage_batch(ns, agent_epoch, batch_no, at) VALUES(?, ?, ?, ?) "
        "ON CONFLICT(ns, agent_epoch) DO UPDATE SET batch_no = excluded.batch_no, "
        "at = excluded.at WHERE excluded.batch_no > batch_no");
  batch_->reset();
  batch_->bindNoCopy(1, first.name_space);
  batch_->bind(2, to_column(first.agent_epoch));
  batch_->bind(3, to_column(first.batch_no));
  batch_->bind(4, first.event.at_wall_ms);
  return batch_->exec() == 1;
}

AuditPage AuditTable::page(const AuditQuery& query) {
  AuditPage page;
  std::string where = "WHERE 1";
  if (query.from_wall_ms > 0) where += " AND at >= :from";
  if (query.to_wall_ms < INT64_MAX) where += " AND at < :to";
  if (!query.key.empty()) where += " AND key_hash = :hash AND key = :key";
  if (!query.name_space.empty()) where += " AND ns = :ns";
  if (!query.action.empty()) where += " AND action = :action";
  if (query.before_id != 0) where += " AND id < :before";
  const std::uint32_t size = std::clamp(query.page_size, 1U, kPageRowsMax);
  const std::uint64_t skip = static_cast<std::uint64_t>(std::max(query.page, 1U) - 1) * size;
  SQLite::Statement rows(db_, std::string("SELECT ") + kAuditColumns + " FROM audit " + where +
                                  " ORDER BY id DESC LIMIT :limit OFFSET :skip");
  if (query.from_wall_ms > 0) rows.bind(":from", query.from_wall_ms);
  if (query.to_wall_ms < INT64_MAX) rows.bind(":to", query.to_wall_ms);
  if (!query.key.empty()) {
    if (query.name_space.empty()) {
      page.why = "a filter by key needs the namespace";
      return page;
    }
    rows.bind(":hash", to_column(key_hash(query.name_space, query.key)));
    rows.bind(":key", query.key);
  }
  if (!query.name_space.empty()) rows.bind(":ns", query.name_space);
  if (!query.action.empty()) {
    const int action = action_of_text(query.action);
    if (action < 0) {
      page.why = "there is no action '" + query.action + "'";
      return page;
    }
    rows.bind(":action", action);
  }
  if (query.before_id != 0) rows.bind(":before", to_column(query.before_id));
  rows.bind(":limit", static_cast<std::int64_t>(size) + 1);
  rows.bind(":skip", static_cast<std::int64_t>(skip));
  while (rows.executeStep()) {
    if (page.rows.size() == size) {
      page.more = true;
      break;
    }
    page.rows.push_back(read_audit(rows));
  }
  return page;
}

std::uint64_t AuditTable::remove(std::int64_t before_wall_ms, std::uint32_t rows_max) {
  if (!remove_)
    remove_ = std::make_unique<SQLite::Statement>(
        db_,
        "DELETE FROM audit WHERE id IN "
        "(SELECT id FROM audit WHERE at < ? ORDER BY at LIMIT ?)");
  // Agents that have said nothing for so long do not come back with an old batch.
  if (!forget_)
    forget_ = std::make_unique<SQLite::Statement>(
        db_,
        "DELETE FROM usage_batch WHERE (ns, agent_epoch) IN "
        "(SELECT ns, agent_epoch FROM usage_batch WHERE at < ? LIMIT ?)");
  forget_->reset();
  forget_->bind(1, before_wall_ms);
  forget_->bind(2, static_cast<std::int64_t>(rows_max));
  forget_->exec();
  remove_->reset();
  remove_->bind(1, before_wall_ms);
  remove_->bind(2, static_cast<std::int64_t>(rows_max));
  return static_cast<std::uint64_t>(remove_->exec());
}

std::int64_t read_meta(SQLite::Database& db, const char* name) {
  SQLite::Statement row(db, "SELECT value FROM meta WHERE name = ?");
  row.bind(1, name);
  return row.executeStep() ? row.getColumn(0).getInt64() : 0;
}

void write_meta(SQLite::Database& db, const char* name, std::int64_t value) {
  SQLite::Statement row(db, "INSERT OR REPLACE INTO meta(name, value) VALUES(?, ?)");
  row.bind(1, name);
  row.bind(2, value);
  row.exec();
}

}  // namespace weir::server
