#include "server/store/sqlite_store.h"

#include <sys/stat.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <utility>

#include "server/store/rows.h"
#include "server/store/sqlite_writer.h"

namespace weir::server {
namespace {

constexpr std::size_t kReadsMax = 1'000'000;

// Below one prefix: everything that begins with it.
std::string after_all(std::string prefix) {
  prefix.back() = static_cast<char>(prefix.back() + 1);
  return prefix;
}

}  // namespace

// The thread that reads. Each job is a function that makes its answer; it throws what SQLite says.
class SqliteStore::Reader {
 public:
  using Job = std::function<void(SQLite::Database&)>;
  // Says why when it could not be done.
  using Failed = std::function<void(std::string)>;

  Reader(std::unique_ptr<SQLite::Database> db, Post post)
      : post_(std::move(post)), db_(std::move(db)), thread_([this] { run(); }) {}
  ~Reader() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }
  void ask(Job job, Failed failed) {
    {
      const std::lock_guard lock(mutex_);
      if (jobs_.size() < kReadsMax) {
        jobs_.emplace_back(std::move(job), std::move(failed));
        failed = nullptr;
      }
    }
    if (failed) return failed("too many reads wait for the disk");
    wake_.notify_one();
  }
  void tell(std::function<void()> call) { post_(std::move(call)); }
  SQLite::Statement& prepared(SQLite::Database& db, std::unique_ptr<SQLite::Statement>& statement,
                              const std::string& sql) {
    if (!statement) statement = std::make_unique<SQLite::Statement>(db, sql);
    statement->reset();
    return *statement;
  }
  std::uint64_t loads() const {
    const std::lock_guard lock(mutex_);
    return loads_;
  }
  LoadResult load(SQLite::Database& db, const std::string& name_space, const std::string& key);

 private:
  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [this] { return stop_ || !jobs_.empty(); });
      if (stop_) return;
      auto [job, failed] = std::move(jobs_.front());
      jobs_.pop_front();
      lock.unlock();
      try {
        job(*db_);
      } catch (const std::exception& error) {
        record_.reset();
        holdings_.reset();
        failed(describe(error));
      }
      lock.lock();
    }
  }

  Post post_;
  std::unique_ptr<SQLite::Database> db_;
  std::unique_ptr<SQLite::Statement> record_, holdings_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::pair<Job, Failed>> jobs_;
  std::uint64_t loads_ = 0;
  bool stop_ = false;
  std::thread thread_;
};

// Both tables as of the same commit: record and chunks are read in one transaction.
LoadResult SqliteStore::Reader::load(SQLite::Database& db, const std::string& name_space,
                                     const std::string& key) {
  LoadResult result;
  SQLite::Transaction snapshot(db, SQLite::TransactionBehavior::DEFERRED);
  SQLite::Statement& record = prepared(
      db, record_, std::string("SELECT ") + kQuotaColumns + " FROM quota WHERE ns = ? AND key = ?");
  record.bind(1, name_space);
  record.bind(2, key);
  std::string name;
  if (record.executeStep()) {
    result.loaded.emplace();
    result.loaded->record = read_quota(record, name);
    SQLite::Statement& holdings = prepared(
        db, holdings_,
        std::string("SELECT ") + kHoldingColumns + " FROM holding WHERE ns = ? AND key = ?");
    holdings.bind(1, name_space);
    holdings.bind(2, key);
    while (holdings.executeStep())
      result.loaded->holdings.push_back(read_holding(holdings, name));
    holdings.reset();
    // A chunk whose name was damaged is not found: its key must not be used as if it were not out.
    lease::Units held = 0;
    for (const lease::QuotaHolding& holding : result.loaded->holdings)
      held += held_in(holding, result.loaded->record.gen);
    if (held != result.loaded->record.held())
      throw std::runtime_error("the books of this key do not balance: run 'weir-server db check'");
  }
  record.reset();
  snapshot.commit();
  const std::lock_guard lock(mutex_);
  ++loads_;
  return result;
}

SqliteStore::SqliteStore() = default;
SqliteStore::~SqliteStore() = default;

std::string SqliteStore::open(SqliteOptions options, std::unique_ptr<SqliteStore>& store) {
  store.reset(new SqliteStore());
  const auto failed = [&](std::string why) {
    store.reset();
    return why;
  };
  const std::string& path = options.file.path;
  std::string durability;
  // Before the lock makes a file there.
  if (std::string why = check_place(options.file, durability); !why.empty()) return failed(why);
  if (std::string why = store->lock_.take(path); !why.empty()) return failed(why);
  const std::string marked = store->lock_.mark();
  struct stat info {};
  const bool empty = ::stat(path.c_str(), &info) != 0 || info.st_size == 0;
  if (empty && !marked.empty())
    return failed(path + ": there was a store here, and now the file is " +
                  (info.st_size == 0 ? "empty or gone" : "gone") +
                  ": restore a backup, or remove " + path + ".lock to begin a new one");
  std::unique_ptr<SQLite::Database> writer;
  if (std::string why = open_writer(options.file, writer, durability); !why.empty())
    return failed(why);
  std::unique_ptr<SQLite::Database> reader;
  if (std::string why = open_reader(options.file, reader); !why.empty()) return failed(why);
  try {
    if (std::string why = store->lock_.check_mark(*writer, path); !why.empty()) return failed(why);
    Post post = options.post;
    store->writer_ = std::make_unique<Writer>(std::move(options), std::move(writer), durability);
    store->reader_ = std::make_unique<Reader>(std::move(reader), std::move(post));
  } catch (const std::exception& error) {
    return failed(path + ": " + describe(error));
  }
  return {};
}

// ------------------------------------------------------------------ quotas

void SqliteStore::commit(const std::string& name_space,
                         std::shared_ptr<const lease::QuotaTransaction> transaction,
                         std::function<void(const CommitResult&)> done) {
  writer_->commit({name_space, std::move(transaction), std::move(done)});
}

namespace {

// Answers on the caller's thread, whatever happens.
template <class Result, class ReaderType, class Make>
void answer(ReaderType& reader, std::function<void(Result)> done, Make make) {
  const auto shared = std::make_shared<std::function<void(Result)>>(std::move(done));
  reader.ask(
      [&reader, shared, make = std::move(make)](SQLite::Database& db) {
        auto result = std::make_shared<Result>(make(db));
        reader.tell([shared, result] { (*shared)(std::move(*result)); });
      },
      [&reader, shared](const std::string& why) {
        reader.tell([shared, why] {
          Result result;
          result.why = why;
          (*shared)(std::move(result));
        });
      });
}

QuotaPage quota_page(SQLite::Database& db, const QuotaQuery& query) {
  QuotaPage page;
  const std::uint32_t size = std::clamp(query.rows_max, 1U, kPageRowsMax);
  std::string where = "WHERE ns = :ns AND key > :after AND state <> 2";
  if (!query.name.empty()) where += " AND key >= :from AND key < :to";
  if (query.lost_only) where += " AND lost > 0";
  SQLite::Statement rows(db, std::string("SELECT ") + kQuotaColumns + " FROM quota " + where +
                                 " ORDER BY key LIMIT :limit");
  rows.bind(":ns", query.name_space);
  rows.bind(":after", query.after);
  if (!query.name.empty()) {
    const std::string prefix = lease::quota_key(query.name, "");
    rows.bind(":from", prefix);
    rows.bind(":to", after_all(prefix));
  }
  rows.bind(":limit", static_cast<std::int64_t>(size) + 1);
  while (rows.executeStep()) {
    if (page.rows.size() == size) {
      page.more = true;
      break;
    }
    QuotaPage::Row& row = page.rows.emplace_back();
    row.record = read_quota(rows, row.key);
  }
  return page;
}

// From one agent to the next by the index: as many steps as there are agents, not rows.
AgentResult all_agents(SQLite::Database& db, const std::string& name_space) {
  AgentResult result;
  SQLite::Statement next(db,
                         "SELECT agent_epoch, host FROM holding INDEXED BY holding_of_agent "
                         "WHERE ns = ? AND agent_epoch > ? ORDER BY agent_epoch LIMIT 1");
  SQLite::Statement least(db,
                          "SELECT agent_epoch, host FROM holding INDEXED BY holding_of_agent "
                          "WHERE ns = ? ORDER BY agent_epoch LIMIT 1");
  least.bind(1, name_space);
  SQLite::Statement* row = &least;
  while (row->executeStep()) {
    const std::int64_t agent_epoch = row->getColumn(0).getInt64();
    result.agents.emplace_back(static_cast<std::uint64_t>(agent_epoch),
                               row->getColumn(1).getString());
    row = &next;
    next.reset();
    next.bind(1, name_space);
    next.bind(2, agent_epoch);
  }
  return result;
}

}  // namespace

void SqliteStore::load(const std::string& name_space, const std::string& key,
                       std::function<void(LoadResult)> done) {
  answer<LoadResult>(*reader_, std::move(done),
                     [reader = reader_.get(), name_space, key](SQLite::Database& db) {
                       return reader->load(db, name_space, key);
                     });
}

void SqliteStore::agents(const std::string& name_space, std::function<void(AgentResult)> done) {
  answer<AgentResult>(*reader_, std::move(done),
                      [name_space](SQLite::Database& db) { return all_agents(db, name_space); });
}

void SqliteStore::keys_of(const std::string& name_space, std::uint64_t agent_epoch,
                          const std::string& after, std::uint32_t rows_max,
                          std::function<void(KeysResult)> done) {
  const auto size = std::clamp(rows_max, 1U, kPageRowsMax);
  answer<KeysResult>(*reader_, std::move(done), [=](SQLite::Database& db) {
    KeysResult result;
    SQLite::Statement rows(db,
                           "SELECT key FROM holding INDEXED BY holding_of_agent "
                           "WHERE ns = ? AND agent_epoch = ? AND key > ? ORDER BY key LIMIT ?");
    rows.bind(1, name_space);
    rows.bind(2, to_column(agent_epoch));
    rows.bind(3, after);
    rows.bind(4, static_cast<std::int64_t>(size));
    while (rows.executeStep())
      result.keys.push_back(rows.getColumn(0).getString());
    result.more = result.keys.size() == size;
    return result;
  });
}

void SqliteStore::page(const QuotaQuery& query, std::function<void(QuotaPage)> done) {
  answer<QuotaPage>(*reader_, std::move(done),
                    [query](SQLite::Database& db) { return quota_page(db, query); });
}

// ------------------------------------------------------------------ audit

bool SqliteStore::offer(std::vector<AuditRow>& rows) { return writer_->offer(rows); }
void SqliteStore::on_space(std::function<void()> call) { writer_->on_space(std::move(call)); }
void SqliteStore::page(const AuditQuery& query, std::function<void(AuditPage)> done) {
  answer<AuditPage>(*reader_, std::move(done),
                    [query](SQLite::Database& db) { return AuditTable(db).page(query); });
}
AuditStats SqliteStore::audit_stats() const { return writer_->audit_stats(); }
CleanStats SqliteStore::clean_stats() const { return writer_->clean_stats(); }
void SqliteStore::tick(std::int64_t wall_ms) { writer_->tick(wall_ms); }
void SqliteStore::clean_now(std::int64_t wall_ms, std::function<void(CleanStats)> done) {
  writer_->clean_now(wall_ms, std::move(done));
}

SqliteStats SqliteStore::stats() const {
  SqliteStats stats = writer_->stats();
  stats.loads_total = reader_->loads();
  return stats;
}

}  // namespace weir::server
