#include "server/store/schema.h"

#include <SQLiteCpp/SQLiteCpp.h>

#include <array>
#include <exception>

namespace weir::server {
namespace {

struct Step {
  const char* up;
  const char* down;
};

// The first version. Numbers without a sign are stored as the signed one of the same bits; `crc`
// covers the other columns of a row, since SQLite does not notice a bit that was turned over.
constexpr const char* kTables = R"sql(
CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE quota(
  ns TEXT NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL, gen INTEGER NOT NULL,
  total INTEGER NOT NULL, remaining INTEGER NOT NULL, consumed INTEGER NOT NULL,
  lost INTEGER NOT NULL, state INTEGER NOT NULL, type INTEGER NOT NULL, period INTEGER NOT NULL,
  period_end INTEGER NOT NULL, synced INTEGER NOT NULL, config_total INTEGER NOT NULL,
  valid_until INTEGER NOT NULL, rate_per_min INTEGER NOT NULL, rate_burst INTEGER NOT NULL,
  zone TEXT NOT NULL, changes BLOB NOT NULL, crc INTEGER NOT NULL,
  PRIMARY KEY(ns, key)) WITHOUT ROWID;
CREATE TABLE holding(
  ns TEXT NOT NULL, key TEXT NOT NULL, agent_epoch INTEGER NOT NULL, host TEXT NOT NULL,
  last_seq INTEGER NOT NULL, gen INTEGER NOT NULL, consumed INTEGER NOT NULL,
  refunded INTEGER NOT NULL, chunks BLOB NOT NULL, crc INTEGER NOT NULL,
  PRIMARY KEY(ns, key, agent_epoch)) WITHOUT ROWID;
CREATE INDEX holding_of_agent ON holding(ns, agent_epoch, key);
CREATE TABLE audit(
  id INTEGER PRIMARY KEY, at INTEGER NOT NULL, ns TEXT NOT NULL, key TEXT NOT NULL,
  action INTEGER NOT NULL, host TEXT NOT NULL, process TEXT NOT NULL, uid INTEGER NOT NULL,
  amount INTEGER NOT NULL, remains INTEGER NOT NULL, outcome TEXT NOT NULL);
CREATE INDEX audit_at ON audit(at);
)sql";

constexpr std::array<Step, kSchemaVersion> kSteps{{
    {kTables, "DROP TABLE audit; DROP TABLE holding; DROP TABLE quota; DROP TABLE meta;"},
    // Finding the rows of one key, by a hash of it: a fifth of the size of an index of the keys.
    {"ALTER TABLE audit ADD COLUMN key_hash INTEGER NOT NULL DEFAULT 0;"
     "UPDATE audit SET key_hash = weir_key_hash(ns, key);"
     "CREATE INDEX audit_key ON audit(key_hash);",
     "DROP INDEX audit_key; ALTER TABLE audit DROP COLUMN key_hash;"},
    // The last batch of usage of each agent that is in the audit log: one that comes again after
    // its answer was lost is not written twice.
    {"CREATE TABLE usage_batch(ns TEXT NOT NULL, agent_epoch INTEGER NOT NULL, "
     "batch_no INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY(ns, agent_epoch)) WITHOUT ROWID;",
     "DROP TABLE usage_batch;"},
}};

std::string newer(int version) {
  return "it is of version " + std::to_string(version) + " and this program knows versions up to " +
         std::to_string(kSchemaVersion) +
         ": run a newer weir-server, or let that one take it back with 'weir-server db migrate "
         "--to " +
         std::to_string(kSchemaVersion) + "'";
}

}  // namespace

int schema_version(SQLite::Database& db) { return db.execAndGet("PRAGMA user_version").getInt(); }

std::string check_schema(SQLite::Database& db) {
  const int version = schema_version(db);
  const int id = db.execAndGet("PRAGMA application_id").getInt();
  const int tables = db.execAndGet("SELECT count(*) FROM sqlite_master").getInt();
  if (version == 0 && tables == 0) return {};
  if (id != kApplicationId) return "it is a database of some other program";
  if (version > kSchemaVersion) return newer(version);
  if (version < 0) return "its version is " + std::to_string(version);
  return {};
}

std::string migrate_schema(SQLite::Database& db, int to_version) {
  if (to_version < 0 || to_version > kSchemaVersion)
    return "there is no version " + std::to_string(to_version);
  try {
    if (std::string why = check_schema(db); !why.empty()) return why;
    for (int version = schema_version(db); version != to_version;) {
      const bool up = version < to_version;
      const int next = up ? version + 1 : version - 1;
      SQLite::Transaction step(db, SQLite::TransactionBehavior::IMMEDIATE);
      db.exec(up ? kSteps[static_cast<std::size_t>(version)].up
                 : kSteps[static_cast<std::size_t>(next)].down);
      db.exec("PRAGMA application_id = " + std::to_string(kApplicationId));
      db.exec("PRAGMA user_version = " + std::to_string(next));
      step.commit();
      version = next;
    }
  } catch (const std::exception& error) {
    return std::string("migrating to version ") + std::to_string(to_version) + ": " + error.what();
  }
  return {};
}

}  // namespace weir::server
