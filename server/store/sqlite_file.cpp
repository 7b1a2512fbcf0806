#include "server/store/sqlite_file.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <future>
#include <string_view>

#include "server/store/audit_table.h"
#include "server/store/rows.h"
#include "server/store/schema.h"

namespace weir::server {
namespace {

constexpr int kSyncTries = 3;
// A disk takes longer. What is faster does not sync, or has a cache that is safe: it is said.
constexpr std::int64_t kSyncSuspectUs = 15;

struct FileSystem {
  std::uint32_t magic;
  const char* name;
  const char* flaw;  // nullptr: none
};
// From linux/magic.h and statfs(2).
constexpr std::array<FileSystem, 12> kFileSystems{{
    {0x01021994, "tmpfs", "it is memory: a reboot takes all of it"},
    {0x858458f6, "ramfs", "it is memory: a reboot takes all of it"},
    {0x00006969, "nfs", "SQLite's write-ahead log does not work over a network"},
    {0xff534d42, "cifs", "SQLite's write-ahead log does not work over a network"},
    {0xfe534d42, "smb2", "SQLite's write-ahead log does not work over a network"},
    {0x01021997, "9p", "SQLite's write-ahead log does not work over a network"},
    {0x0000ef53, "ext4", nullptr},
    {0x58465342, "xfs", nullptr},
    {0x9123683e, "btrfs", nullptr},
    {0x2fc12fc1, "zfs", nullptr},
    {0xf2f52010, "f2fs", nullptr},
    {0x794c7630, "overlayfs", nullptr},
}};

std::string errno_text() { return std::strerror(errno); }

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// What a commit will wait for, measured: microseconds of the fastest try, or -1.
std::int64_t sync_us(const std::string& directory) {
  std::string name = directory + "/.weir-sync-XXXXXX";
  const int fd = ::mkstemp(name.data());
  if (fd < 0) return -1;
  ::unlink(name.c_str());
  std::int64_t best = -1;
  const std::array<char, 4096> page{};
  for (int i = 0; i < kSyncTries; ++i) {
    const auto start = std::chrono::steady_clock::now();
    if (::pwrite(fd, page.data(), page.size(), 0) != static_cast<ssize_t>(page.size()) ||
        ::fdatasync(fd) != 0)
      break;
    const auto took = std::chrono::duration_cast<std::chrono::microseconds>(
        std::chrono::steady_clock::now() - start);
    if (best < 0 || took.count() < best) best = took.count();
  }
  ::close(fd);
  return best;
}

std::string sync_name(Sync sync) {
  return sync == Sync::full ? "FULL" : sync == Sync::normal ? "NORMAL" : "OFF";
}

void set_up(SQLite::Database& db, const FileOptions& options) {
  db.setBusyTimeout(kBusyMs);
  db.exec("PRAGMA cache_size = -" + std::to_string(options.cache_bytes / 1024));
  db.exec("PRAGMA temp_store = MEMORY");
  db.exec("PRAGMA trusted_schema = OFF");
  db.createFunction("weir_key_hash", 2, true, nullptr,
                    [](sqlite3_context* context, int count, sqlite3_value** values) {
                      const auto text = [&](int i) {
                        const void* bytes = sqlite3_value_text(values[i]);
                        const int size = sqlite3_value_bytes(values[i]);
                        return std::string_view(static_cast<const char*>(bytes),
                                                static_cast<std::size_t>(size));
                      };
                      (void)count;
                      sqlite3_result_int64(context, to_column(key_hash(text(0), text(1))));
                    });
}

int code_of(const std::exception& error) noexcept {
  const auto* sqlite = dynamic_cast<const SQLite::Exception*>(&error);
  return sqlite == nullptr ? SQLITE_OK : sqlite->getErrorCode() & 0xff;
}

}  // namespace

// ------------------------------------------------------------------ errors

std::string describe(const std::exception& error) {
  const std::string said = error.what();
  switch (code_of(error)) {
    case SQLITE_FULL:
      return "the disk is full (" + said + ")";
    case SQLITE_READONLY:
      return "the disk, or the file, can only be read (" + said + ")";
    case SQLITE_CORRUPT:
      return "the file is damaged: restore a backup (" + said + ")";
    case SQLITE_NOTADB:
      return "the file is no database, or its beginning is damaged: restore a backup (" + said +
             ")";
    case SQLITE_CANTOPEN:
      return "the file cannot be opened (" + said + ")";
    case SQLITE_IOERR:
      return "the disk fails (" + said + ")";
    case SQLITE_BUSY:
      return "another program holds the file (" + said + ")";
    default:
      return said;
  }
}

bool outcome_unknown(const std::exception& error) noexcept {
  return code_of(error) == SQLITE_IOERR;
}

bool is_disk_trouble(const std::exception& error) noexcept {
  switch (code_of(error)) {
    case SQLITE_FULL:
    case SQLITE_READONLY:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_CANTOPEN:
    case SQLITE_IOERR:
    case SQLITE_BUSY:
    case SQLITE_NOMEM:
      return true;
    default:
      return false;
  }
}

// ------------------------------------------------------------------ the lock

StoreLock& StoreLock::operator=(StoreLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}
StoreLock::~StoreLock() {
  if (fd_ >= 0) ::close(fd_);
}

std::string StoreLock::take(const std::string& store_path) {
  const std::string path = store_path + ".lock";
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd_ < 0) return path + ": " + errno_text();
  if (::flock(fd_, LOCK_EX | LOCK_NB) == 0) return {};
  const bool held = errno == EWOULDBLOCK;
  const std::string why = errno_text();
  ::close(fd_);
  fd_ = -1;
  return held ? store_path + ": a weir-server is using this store" : path + ": " + why;
}

std::string StoreLock::mark() const {
  std::array<char, 64> text{};
  const ssize_t size = ::pread(fd_, text.data(), text.size(), 0);
  return size <= 0 ? std::string() : std::string(text.data(), static_cast<std::size_t>(size));
}

std::string StoreLock::check_mark(SQLite::Database& db, const std::string& store_path) const {
  const std::string path = store_path + ".lock";
  if (read_meta(db, "store_id") == 0) {
    const std::int64_t id = db.execAndGet("SELECT 1 + (random() & 0x7ffffffffffffff)").getInt64();
    if (!mark().empty())
      return store_path + ": this is not the store that was here before. To use it, remove " + path;
    write_meta(db, "store_id", id);
  }
  const std::string id = std::to_string(read_meta(db, "store_id"));
  const std::string marked = mark();
  if (marked == id) return {};
  if (!marked.empty())
    return store_path + ": this is not the store that was here before. To use it, remove " + path;
  if (::pwrite(fd_, id.data(), id.size(), 0) != static_cast<ssize_t>(id.size()) ||
      ::fdatasync(fd_) != 0)
    return path + ": " + errno_text();
  return {};
}

// ------------------------------------------------------------------ opening

std::string check_place(const FileOptions& options, std::string& durability) {
  const std::string directory = directory_of(options.path);
  struct statfs info {};
  if (::statfs(directory.c_str(), &info) != 0) return directory + ": " + errno_text();
  const auto magic = static_cast<std::uint32_t>(info.f_type);
  std::string name = "an unknown file system";
  std::string flaw;
  for (const FileSystem& known : kFileSystems)
    if (known.magic == magic) {
      name = known.name;
      if (known.flaw != nullptr) flaw = known.flaw;
    }
  if (flaw.empty() && options.sync == Sync::normal)
    flaw = "synchronous is NORMAL: a power cut takes the last answers back";
  if (flaw.empty() && options.sync == Sync::off)
    flaw = "synchronous is OFF: a power cut may take the whole store";
  if (!flaw.empty() && !options.allow_unsafe)
    return options.path + ": the store would not be durable: " + flaw + " (" + name +
           "). Chunks could be handed out twice. To have it all the same, say allow_unsafe";
  const std::int64_t us = sync_us(directory);
  durability = flaw.empty() ? "durable: " : "NOT DURABLE: " + flaw + "; ";
  durability += "write-ahead log, synchronous " + sync_name(options.sync) + ", " + name;
  if (us >= 0) durability += ", a sync takes " + std::to_string(us) + " us";
  if (us >= 0 && us < kSyncSuspectUs && flaw.empty())
    durability += ", so fast that it may not reach a disk";
  return {};
}

std::string quick_check(SQLite::Database& db) {
  try {
    SQLite::Statement check(db, "PRAGMA quick_check(1)");
    if (!check.executeStep()) return "it could not be checked";
    const std::string said = check.getColumn(0).getString();
    if (said == "ok") return {};
    // It may say so in several lines.
    return "the file is damaged: restore a backup (" + said.substr(0, said.find('\n', 40)) + ")";
  } catch (const std::exception& error) {
    return describe(error);
  }
}

// The pages and the rows, at the same time: a large store should be ready in seconds.
static std::string check_whole(const FileOptions& options, SQLite::Database& db) {
  if (schema_version(db) != kSchemaVersion) return quick_check(db);
  auto pages = std::async(std::launch::async, [&options] {
    std::unique_ptr<SQLite::Database> second;
    std::string why = open_reader(options, second);
    return why.empty() ? quick_check(*second) : why;
  });
  std::string rows;
  try {
    verify_rows(db);
  } catch (const std::exception& error) {
    rows = describe(error);
  }
  const std::string why = pages.get();
  return why.empty() ? rows : why;
}

std::string open_writer(const FileOptions& options, std::unique_ptr<SQLite::Database>& db,
                        std::string& durability) {
  if (std::string why = check_place(options, durability); !why.empty()) return why;
  const auto failed = [&](const std::string& why) {
    db.reset();
    return options.path + ": " + why;
  };
  try {
    const int flags = SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE | SQLite::OPEN_NOMUTEX;
    db = std::make_unique<SQLite::Database>(options.path, flags);
    set_up(*db, options);
    if (std::string why = check_schema(*db); !why.empty()) return failed(why);
    const std::string mode = db->execAndGet("PRAGMA journal_mode = WAL").getString();
    if (mode != "wal" && !options.allow_unsafe)
      return failed("the write-ahead log cannot be had here, the journal is '" + mode + "'");
    db->exec("PRAGMA synchronous = " + sync_name(options.sync));
    db->exec("PRAGMA journal_size_limit = 67108864");
    if (options.check)
      if (std::string why = check_whole(options, *db); !why.empty()) return failed(why);
    if (schema_version(*db) < kSchemaVersion) {
      if (!options.migrate && schema_version(*db) != 0)
        return failed("it is of an older version; run 'weir-server db migrate'");
      if (std::string why = migrate_schema(*db, kSchemaVersion); !why.empty()) return failed(why);
    }
    // A disk that can only be read is noticed now, not at the first grant.
    SQLite::Transaction probe(*db, SQLite::TransactionBehavior::IMMEDIATE);
    db->exec(
        "INSERT OR REPLACE INTO meta(name, value) VALUES('opened', "
        "1 + coalesce((SELECT value FROM meta WHERE name = 'opened'), 0))");
    probe.commit();
  } catch (const std::exception& error) {
    return failed(describe(error));
  }
  return {};
}

std::string open_reader(const FileOptions& options, std::unique_ptr<SQLite::Database>& db) {
  try {
    const int flags = SQLite::OPEN_READWRITE | SQLite::OPEN_NOMUTEX;
    db = std::make_unique<SQLite::Database>(options.path, flags);
    set_up(*db, options);
    db->exec("PRAGMA query_only = ON");
  } catch (const std::exception& error) {
    db.reset();
    return options.path + ": " + describe(error);
  }
  return {};
}

}  // namespace weir::server
