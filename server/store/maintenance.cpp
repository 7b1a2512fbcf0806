#include "server/store/maintenance.h"

#include <SQLiteCpp/Backup.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "server/store/audit_table.h"
#include "server/store/rows.h"
#include "server/store/schema.h"

namespace weir::server {
namespace {

constexpr int kPagesPerStep = 1'000;

bool exists(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0;
}

std::string sync_path(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool ok = fd >= 0 && ::fsync(fd) == 0;
  const std::string why = ok ? std::string() : path + ": " + std::strerror(errno);
  if (fd >= 0) ::close(fd);
  return why;
}

std::string sync_directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return sync_path(slash == std::string::npos ? "." : path.substr(0, slash + 1));
}

// A copy in one file, with no log beside it.
std::string copy(const std::string& from, const std::string& to) {
  try {
    SQLite::Database source(from, SQLite::OPEN_READONLY);
    source.setBusyTimeout(kBusyMs);
    if (std::string why = check_schema(source); !why.empty()) return from + ": " + why;
    SQLite::Database target(to, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    SQLite::Backup backup(target, source);
    while (backup.executeStep(kPagesPerStep) != SQLITE_DONE)
      sqlite3_sleep(1);  // the source is busy: its writers go first
  } catch (const std::exception& error) {
    return from + " to " + to + ": " + describe(error);
  }
  if (std::string why = sync_path(to); !why.empty()) return why;
  return sync_directory_of(to);
}

// What was out is lost, and what comes of it belongs to a generation that is over.
lease::QuotaRecord restored(lease::QuotaRecord record, std::uint64_t gen, bool suspend) {
  record.lost += record.held();
  record.gen = gen;
  record.changes.clear();
  if (suspend && record.state == lease::QuotaState::active)
    record.state = lease::QuotaState::suspended;
  ++record.version;
  return record;
}

void begin_generations(SQLite::Database& db, const RestoreOptions& options) {
  SQLite::Transaction transaction(db, SQLite::TransactionBehavior::IMMEDIATE);
  // Later than any that this key can have had since the backup: generations are counted up from
  // the time of day at which a quota was made.
  const auto now = static_cast<std::uint64_t>(std::max<std::int64_t>(0, options.wall_ms));
  const auto highest = static_cast<std::uint64_t>(
      db.execAndGet("SELECT coalesce(max(gen), 0) FROM quota").getInt64());
  const std::uint64_t gen = std::max(highest + 1, now);
  SQLite::Statement rows(db, std::string("SELECT ") + kQuotaColumns +
                                 ", ns FROM quota WHERE (ns, key) > (?, ?) ORDER BY ns, key LIMIT "
                                 "1000");
  SQLite::Statement update(db, std::string("UPDATE quota SET (") + kQuotaColumns +
                                   ") = (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
                                   "WHERE ns = ? AND key = ?");
  AuditTable audit(db);
  std::string name_space, key;
  for (bool more = true; more;) {
    std::vector<std::pair<std::string, QuotaPage::Row>> page;
    rows.reset();
    rows.bind(1, name_space);
    rows.bind(2, key);
    while (rows.executeStep()) {
      QuotaPage::Row row;
      row.record = read_quota(rows, row.key);
      page.emplace_back(rows.getColumn(19).getString(), std::move(row));
    }
    for (auto& [ns, row] : page) {
      const lease::QuotaRecord record = restored(row.record, gen, options.suspend);
      update.reset();
      bind_quota(update, 1, row.key, record);
      update.bind(20, ns);
      update.bind(21, row.key);
      update.exec();
      lease::QuotaEvent event;
      event.action = lease::QuotaAction::restore;
      event.amount = record.lost - row.record.lost;
      event.left = record.remaining;
      event.outcome = options.suspend ? "suspended until it was looked at" : "ok";
      event.at_wall_ms = options.wall_ms;
      audit.insert(ns, row.key, event);
      name_space = ns;
      key = row.key;
    }
    more = !page.empty();
  }
  db.exec("DELETE FROM holding");
  // Another store than the one that was there.
  write_meta(db, "store_id", 0);
  transaction.commit();
}

void check_quotas(SQLite::Database& db, CheckReport& report) {
  const auto wrong = [&](const std::string& what) {
    if (report.wrong++ == 0) report.first_wrong = what;
  };
  SQLite::Statement quotas(
      db, std::string("SELECT ") + kQuotaColumns + ", ns FROM quota ORDER BY ns, key");
  SQLite::Statement holdings(
      db, std::string("SELECT ") + kHoldingColumns + " FROM holding WHERE ns = ? AND key = ?");
  while (quotas.executeStep()) {
    ++report.quotas;
    std::string key, ignored;
    try {
      const lease::QuotaRecord record = read_quota(quotas, key);
      holdings.reset();
      holdings.bind(1, quotas.getColumn(19).getString());
      holdings.bind(2, key);
      lease::Units held = 0;
      while (holdings.executeStep()) {
        ++report.holdings;
        held += held_in(read_holding(holdings, ignored), record.gen);
      }
      if (record.held() != held || record.remaining < 0 || record.consumed < 0 || record.lost < 0) {
        std::replace(key.begin(), key.end(), lease::kQuotaKeySeparator, '/');
        wrong("the books of " + key + " do not balance: total " + std::to_string(record.total) +
              ", remaining " + std::to_string(record.remaining) + ", consumed " +
              std::to_string(record.consumed) + ", lost " + std::to_string(record.lost) +
              ", held " + std::to_string(held));
      }
    } catch (const SQLite::Exception&) {
      throw;
    } catch (const std::exception& error) {
      wrong(error.what());
    }
  }
}

}  // namespace

std::string backup_store(const std::string& from, const std::string& to) {
  if (!exists(from)) return from + ": there is no store";
  if (exists(to)) return to + ": there is such a file; it is not written over";
  const std::string part = to + ".part";
  std::remove(part.c_str());
  if (std::string why = copy(from, part); !why.empty()) {
    std::remove(part.c_str());
    return why;
  }
  CheckReport report;
  if (std::string why = check_store(part, report); !why.empty()) {
    std::remove(part.c_str());
    return "the copy is not good: " + why;
  }
  if (std::rename(part.c_str(), to.c_str()) != 0) return to + ": " + std::strerror(errno);
  return sync_directory_of(to);
}

std::string restore_store(const std::string& from, const std::string& to,
                          const RestoreOptions& options) {
  CheckReport report;
  if (std::string why = check_store(from, report); !why.empty()) return from + ": " + why;
  StoreLock lock;
  if (std::string why = lock.take(to); !why.empty()) return why;
  const std::string part = to + ".part";
  std::remove(part.c_str());
  if (std::string why = copy(from, part); !why.empty()) return why;
  try {
    FileOptions file;
    file.path = part;
    file.allow_unsafe = true;
    std::unique_ptr<SQLite::Database> db;
    std::string durability;
    if (std::string why = open_writer(file, db, durability); !why.empty()) return why;
    begin_generations(*db, options);
    // In one file again.
    db->exec("PRAGMA journal_mode = DELETE");
  } catch (const std::exception& error) {
    return part + ": " + describe(error);
  }
  if (std::string why = sync_path(part); !why.empty()) return why;
  const std::string before = to + ".before-restore";
  for (const char* ending : {"", "-wal", "-shm"}) {
    std::remove((before + ending).c_str());
    if (exists(to + ending) && std::rename((to + ending).c_str(), (before + ending).c_str()) != 0)
      return to + ending + ": " + std::strerror(errno);
  }
  if (std::rename(part.c_str(), to.c_str()) != 0) return to + ": " + std::strerror(errno);
  // The store that was marked here is no more.
  if (::truncate((to + ".lock").c_str(), 0) != 0) return to + ".lock: " + std::strerror(errno);
  return sync_directory_of(to);
}

std::string migrate_store(const std::string& path, int to_version) {
  if (!exists(path)) return path + ": there is no store";
  StoreLock lock;
  if (std::string why = lock.take(path); !why.empty()) return why;
  try {
    FileOptions file;
    file.path = path;
    file.allow_unsafe = true;
    std::unique_ptr<SQLite::Database> db;
    if (std::string why = open_reader(file, db); !why.empty()) return why;
    db->exec("PRAGMA query_only = OFF");
    if (std::string why = check_schema(*db); !why.empty()) return path + ": " + why;
    if (std::string why = quick_check(*db); !why.empty()) return path + ": " + why;
    if (to_version < 1) return "there is no version " + std::to_string(to_version);
    if (std::string why = migrate_schema(*db, to_version); !why.empty()) return path + ": " + why;
  } catch (const std::exception& error) {
    return path + ": " + describe(error);
  }
  return {};
}

std::string check_store(const std::string& path, CheckReport& report) {
  report = CheckReport{};
  if (!exists(path)) return path + ": there is no store";
  try {
    SQLite::Database db(path, SQLite::OPEN_READONLY);
    db.setBusyTimeout(kBusyMs);
    if (std::string why = check_schema(db); !why.empty()) return path + ": " + why;
    report.version = schema_version(db);
    if (report.version == 0) return path + ": the file is empty";
    SQLite::Statement check(db, "PRAGMA integrity_check(1)");
    if (!check.executeStep() || check.getColumn(0).getString() != "ok")
      return path + ": the file is damaged: restore a backup";
    SQLite::Transaction snapshot(db, SQLite::TransactionBehavior::DEFERRED);
    check_quotas(db, report);
    report.audit_rows =
        static_cast<std::uint64_t>(db.execAndGet("SELECT count(*) FROM audit").getInt64());
    snapshot.commit();
  } catch (const std::exception& error) {
    return path + ": " + describe(error);
  }
  return report.wrong == 0 ? std::string() : path + ": " + report.first_wrong;
}

}  // namespace weir::server
