#include "server/store/sqlite_writer.h"

#include <sqlite3.h>

#include <algorithm>
#include <utility>

#include "server/store/rows.h"

namespace weir::server {
namespace {

constexpr std::int64_t kDayMs = 86'400'000;
constexpr std::int64_t kHourMs = 3'600'000;
constexpr std::chrono::milliseconds kRetry{1'000};

}  // namespace

struct SqliteStore::Writer::Statements {
  explicit Statements(SQLite::Database& db)
      : insert(db, std::string("INSERT OR IGNORE INTO quota(ns, ") + kQuotaColumns +
                       ") VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"),
        update(db, std::string("UPDATE quota SET (") + kQuotaColumns +
                       ") = (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
                       "WHERE ns = ? AND key = ? AND version = ?"),
        hold(db, std::string("INSERT OR REPLACE INTO holding(ns, ") + kHoldingColumns +
                     ") VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"),
        drop(db, "DELETE FROM holding WHERE ns = ? AND key = ? AND agent_epoch = ?"),
        audit(db) {}

  SQLite::Statement insert, update, hold, drop;
  AuditTable audit;
};

SqliteStore::Writer::Writer(SqliteOptions options, std::unique_ptr<SQLite::Database> db,
                            std::string durability)
    : options_(std::move(options)),
      db_(std::move(db)),
      statements_(std::make_unique<Statements>(*db_)) {
  options_.audit_flush_ms = std::min(options_.audit_flush_ms, kAuditFlushMsMax);
  stats_.durability = std::move(durability);
  audit_.capacity = options_.audit_queue_rows;
  clean_.on = options_.retention_days > 0 && options_.clean_every_h > 0;
  clean_.last_run_wall_ms = read_meta(*db_, "clean_last");
  clean_.removed_last = static_cast<std::uint64_t>(read_meta(*db_, "clean_removed"));
  clean_.removed_total = static_cast<std::uint64_t>(read_meta(*db_, "clean_total"));
  thread_ = std::thread([this] { run(); });
}

SqliteStore::Writer::~Writer() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

// ------------------------------------------------------------------ what is asked

void SqliteStore::Writer::commit(Commit commit) {
  {
    const std::lock_guard lock(mutex_);
    if (commits_.size() < options_.commits_max && !stop_) {
      commits_.push_back(std::move(commit));
      commit.done = nullptr;
    }
  }
  if (!commit.done) return wake_.notify_one();
  options_.post([done = std::move(commit.done)] {
    done({CommitOutcome::failed, 0, "too many transactions wait for the disk"});
  });
}

bool SqliteStore::Writer::offer(std::vector<AuditRow>& rows) {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    audit_.offered_total += rows.size();
    const std::size_t queued = rows_.size() + writing_rows_;
    // A batch that is larger than the whole queue would wait for ever.
    if (stop_ || (queued > 0 && queued + rows.size() > options_.audit_queue_rows)) {
      audit_.refused_total += rows.size();
      return false;
    }
    if (rows_.empty()) {
      rows_since_ = Clock::now();
      wake = true;
    }
    wake = wake || (rows_.size() < options_.audit_batch_rows &&
                    rows_.size() + rows.size() >= options_.audit_batch_rows);
    std::move(rows.begin(), rows.end(), std::back_inserter(rows_));
    rows.clear();
  }
  if (wake) wake_.notify_one();
  return true;
}

void SqliteStore::Writer::on_space(std::function<void()> call) {
  const std::lock_guard lock(mutex_);
  wants_space_.push_back(std::move(call));
}

void SqliteStore::Writer::tick(std::int64_t wall_ms) {
  const std::lock_guard lock(mutex_);
  wall_ms_ = wall_ms;
  if (!clean_.on || clean_.running) return;
  const std::int64_t every_ms = options_.clean_every_h * kHourMs;
  // A clock that was set back must not put the next run off by more than its interval.
  if (clean_.last_run_wall_ms > wall_ms) clean_.last_run_wall_ms = wall_ms;
  clean_.next_run_wall_ms = clean_.last_run_wall_ms + every_ms;
  if (wall_ms < clean_.next_run_wall_ms) return;
  clean_.running = true;
  clean_.removed_last = 0;
  clean_before_ = wall_ms - options_.retention_days * kDayMs;
  wake_.notify_one();
}

void SqliteStore::Writer::clean_now(std::int64_t wall_ms, std::function<void(CleanStats)> done) {
  const std::lock_guard lock(mutex_);
  wall_ms_ = wall_ms;
  if (options_.retention_days == 0) {
    options_.post([done = std::move(done), stats = clean_] { done(stats); });
    return;
  }
  wants_clean_.push_back(std::move(done));
  if (!clean_.running) {
    clean_.running = true;
    clean_.removed_last = 0;
    clean_before_ = wall_ms - options_.retention_days * kDayMs;
  }
  wake_.notify_one();
}

SqliteStats SqliteStore::Writer::stats() const {
  const std::lock_guard lock(mutex_);
  SqliteStats stats = stats_;
  stats.waiting = commits_.size();
  return stats;
}

AuditStats SqliteStore::Writer::audit_stats() const {
  const std::lock_guard lock(mutex_);
  AuditStats stats = audit_;
  stats.queued = rows_.size() + writing_rows_;
  if (!rows_.empty())
    stats.lag_ms =
        std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - rows_since_).count();
  return stats;
}

CleanStats SqliteStore::Writer::clean_stats() const {
  const std::lock_guard lock(mutex_);
  return clean_;
}

// ------------------------------------------------------------------ the thread

bool SqliteStore::Writer::due(Clock::time_point now) const {
  if (!commits_.empty()) return true;
  if (now < retry_at_) return false;
  if (clean_.running || rows_.size() >= options_.audit_batch_rows) return true;
  return !rows_.empty() && now - rows_since_ >= std::chrono::milliseconds(options_.audit_flush_ms);
}

SqliteStore::Writer::Clock::time_point SqliteStore::Writer::next_due() const {
  if (rows_.empty()) return std::max(retry_at_, Clock::now() + std::chrono::seconds(1));
  return std::max(retry_at_, rows_since_ + std::chrono::milliseconds(options_.audit_flush_ms));
}

void SqliteStore::Writer::run() {
  std::unique_lock lock(mutex_);
  bool last_try = false;
  while (true) {
    if (!stop_) wake_.wait_until(lock, next_due(), [this] { return stop_ || due(Clock::now()); });
    if (stop_ && commits_.empty() && (rows_.empty() || last_try)) break;
    if (!stop_ && !due(Clock::now())) continue;
    Round round;
    take(round);
    const bool rows_alone = round.commits.empty();
    lock.unlock();
    write(round);
    lock.lock();
    last_try = stop_ && rows_alone && !rows_.empty();
  }
  audit_.dropped_total += rows_.size();
}

void SqliteStore::Writer::take(Round& round) {
  while (!commits_.empty() && round.commits.size() < options_.group_max) {
    round.commits.push_back(std::move(commits_.front()));
    commits_.pop_front();
  }
  // Rows go along with any commit, save for a while after they could not be written.
  if (Clock::now() >= retry_at_ || stop_) {
    round.rows.assign(std::make_move_iterator(rows_.begin()), std::make_move_iterator(rows_.end()));
    rows_.clear();
    writing_rows_ = round.rows.size();
    round.clean = clean_.running && !stop_;
  }
}

void SqliteStore::Writer::write(Round& round) {
  const auto start = Clock::now();
  try {
    write_all(round);
    const std::lock_guard lock(mutex_);
    stats_.degraded = false;
    stats_.commit_us =
        std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count();
  } catch (const std::exception& error) {
    recover();
    const std::string why = describe(error);
    failed(why);
    // One of many may be at fault: then the others need not suffer for it.
    if (!is_disk_trouble(error) && round.commits.size() > 1) return write_alone(round);
    const CommitOutcome outcome =
        outcome_unknown(error) ? CommitOutcome::unknown : CommitOutcome::failed;
    round.results.assign(round.commits.size(), {outcome, 0, why});
    finish(round, false);
    return;
  }
  finish(round, true);
}

void SqliteStore::Writer::write_all(Round& round) {
  round.results.clear();
  round.removed = 0;
  SQLite::Transaction transaction(*db_, SQLite::TransactionBehavior::IMMEDIATE);
  for (const Commit& commit : round.commits)
    round.results.push_back(apply(commit.name_space, *commit.transaction));
  insert_rows(round);
  if (round.clean)
    round.removed = statements_->audit.remove(clean_before_, options_.clean_batch_rows);
  transaction.commit();
}

void SqliteStore::Writer::write_alone(Round& round) {
  round.results.clear();
  for (const Commit& commit : round.commits) {
    CommitResult result;
    try {
      SQLite::Transaction transaction(*db_, SQLite::TransactionBehavior::IMMEDIATE);
      result = apply(commit.name_space, *commit.transaction);
      transaction.commit();
    } catch (const std::exception& error) {
      recover();
      result = {outcome_unknown(error) ? CommitOutcome::unknown : CommitOutcome::failed, 0,
                describe(error)};
    }
    round.results.push_back(std::move(result));
  }
  finish(round, false);
}

CommitResult SqliteStore::Writer::apply(const std::string& name_space,
                                        const lease::QuotaTransaction& transaction) {
  Statements& to = *statements_;
  lease::QuotaRecord record = transaction.record;
  record.version = transaction.expected_version + 1;
  int changed = 0;
  if (transaction.expected_version == 0) {
    to.insert.reset();
    to.insert.bindNoCopy(1, name_space);
    bind_quota(to.insert, 2, transaction.key, record);
    changed = to.insert.exec();
  } else {
    to.update.reset();
    bind_quota(to.update, 1, transaction.key, record);
    to.update.bindNoCopy(20, name_space);
    to.update.bindNoCopy(21, transaction.key);
    to.update.bind(22, to_column(transaction.expected_version));
    changed = to.update.exec();
  }
  // Nothing of this transaction was written yet, so that nothing need be undone.
  if (changed != 1) return {CommitOutcome::conflict, 0, "another version is stored"};
  for (const lease::QuotaHolding& holding : transaction.holdings) {
    to.hold.reset();
    to.hold.bindNoCopy(1, name_space);
    bind_holding(to.hold, 2, transaction.key, holding);
    to.hold.exec();
  }
  for (const std::uint64_t agent_epoch : transaction.holdings_gone) {
    to.drop.reset();
    to.drop.bindNoCopy(1, name_space);
    to.drop.bindNoCopy(2, transaction.key);
    to.drop.bind(3, to_column(agent_epoch));
    to.drop.exec();
  }
  for (const lease::QuotaEvent& event : transaction.events)
    to.audit.insert(name_space, transaction.key, event);
  return {CommitOutcome::durable, record.version, {}};
}

void SqliteStore::Writer::insert_rows(const Round& round) {
  // Rows of a batch stand together, so that the first one decides for all.
  const AuditRow* first = nullptr;
  bool wanted = true;
  for (const AuditRow& row : round.rows) {
    const bool same = first != nullptr && row.agent_epoch == first->agent_epoch &&
                      row.batch_no == first->batch_no && row.name_space == first->name_space;
    if (row.batch_no == 0) {
      wanted = true;
    } else if (!same) {
      wanted = statements_->audit.begin_batch(row);
    }
    first = &row;
    if (wanted) statements_->audit.insert(row.name_space, row.key, row.event);
  }
}

// After an error SQLite may have rolled back by itself, or not.
void SqliteStore::Writer::recover() {
  try {
    statements_.reset();
    if (sqlite3_get_autocommit(db_->getHandle()) == 0) db_->exec("ROLLBACK");
    // What the log holds can go into the file: on a full disk that may make room.
    db_->exec("PRAGMA wal_checkpoint(TRUNCATE)");
  } catch (const std::exception&) {  // it was rolled back, or there is no room for that either
  }
  try {
    statements_ = std::make_unique<Statements>(*db_);
  } catch (const std::exception&) {
    // The next round will fail and say why.
    statements_.reset();
  }
}

void SqliteStore::Writer::failed(const std::string& why) {
  const std::lock_guard lock(mutex_);
  stats_.degraded = true;
  stats_.last_error = why;
  ++stats_.failures_total;
}

void SqliteStore::Writer::give_back_rows(Round& round) {
  rows_.insert(rows_.begin(), std::make_move_iterator(round.rows.begin()),
               std::make_move_iterator(round.rows.end()));
  round.rows.clear();
  writing_rows_ = 0;
  retry_at_ = Clock::now() + kRetry;
}

void SqliteStore::Writer::after_clean(std::uint64_t removed, bool failed) {
  if (failed) {
    clean_.last_error = stats_.last_error;
  } else {
    clean_.removed_last += removed;
    clean_.removed_total += removed;
    if (removed == options_.clean_batch_rows) return;  // there may be more
    clean_.last_error.clear();
  }
  clean_.running = false;
  clean_.last_run_wall_ms = wall_ms_;
  clean_.next_run_wall_ms = wall_ms_ + options_.clean_every_h * kHourMs;
}

// Tells everybody what became of his part. The results are told in one call.
void SqliteStore::Writer::finish(Round& round, bool stored) {
  std::vector<std::function<void()>> calls;
  std::vector<std::function<void(CleanStats)>> cleaned;
  CleanStats clean;
  bool note_clean = false;
  {
    const std::lock_guard lock(mutex_);
    if (stored) ++stats_.commits_total;
    for (const CommitResult& result : round.results) {
      if (result.outcome == CommitOutcome::durable) ++stats_.transactions_total;
      if (result.outcome == CommitOutcome::conflict) ++stats_.conflicts_total;
    }
    if (stored && !round.rows.empty()) {
      audit_.written_total += round.rows.size();
      ++audit_.batches_total;
      writing_rows_ = 0;
      rows_since_ = Clock::now();
      calls.swap(wants_space_);
    } else if (!round.rows.empty()) {
      give_back_rows(round);
    }
    if (round.clean) {
      after_clean(round.removed, !stored);
      note_clean = !clean_.running;
      clean = clean_;
      if (note_clean) cleaned.swap(wants_clean_);
    }
  }
  if (note_clean && stored) {
    try {
      write_meta(*db_, "clean_last", clean.last_run_wall_ms);
      write_meta(*db_, "clean_removed", static_cast<std::int64_t>(clean.removed_last));
      write_meta(*db_, "clean_total", static_cast<std::int64_t>(clean.removed_total));
    } catch (const std::exception& error) {
      failed(describe(error));
    }
  }
  if (round.commits.empty() && calls.empty() && cleaned.empty()) return;
  options_.post([commits = std::move(round.commits), results = std::move(round.results),
                 calls = std::move(calls), cleaned = std::move(cleaned), clean] {
    for (std::size_t i = 0; i < commits.size(); ++i)
      if (commits[i].done) commits[i].done(results[i]);
    for (const auto& call : calls)
      call();
    for (const auto& call : cleaned)
      call(clean);
  });
}

}  // namespace weir::server
