// The store's file: opened only where it is safe to, with what is wrong said in words.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>

namespace weir::server {

enum class Sync : std::uint8_t {
  full,    // every commit is on the disk before it counts
  normal,  // a power cut takes the last commits; a killed process loses nothing
  off,     // a power cut may take everything
};

inline constexpr int kBusyMs = 5'000;  // waited for another process's lock

struct FileOptions {
  std::string path;
  Sync sync = Sync::full;
  bool allow_unsafe = false;  // a lesser sync, or a file system that forgets
  bool check = true;          // look the whole file over before it is used
  bool migrate = true;        // bring an older one up to date
  std::size_t cache_bytes = 32U << 20;
};

// Held while a server uses the store, so that a second one, or a restore, is refused.
class StoreLock {
 public:
  StoreLock() noexcept = default;
  StoreLock(StoreLock&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  StoreLock& operator=(StoreLock&& other) noexcept;
  ~StoreLock();
  // Empty, or why not.
  std::string take(const std::string& store_path);
  // The store that was made here, by its number; empty: none. An empty file in the place of a
  // store would otherwise be taken for a new one, and every quota begin again.
  std::string mark() const;
  // Empty when this is that store, or the first one; then it is noted.
  std::string check_mark(SQLite::Database& db, const std::string& store_path) const;

 private:
  int fd_ = -1;
};

// What the path promises: empty, or why the store must not lie there.
std::string check_place(const FileOptions& options, std::string& durability);
// A connection that may write; `durability` says in one sentence what is in force. Empty, or why
// not.
std::string open_writer(const FileOptions& options, std::unique_ptr<SQLite::Database>& db,
                        std::string& durability);
std::string open_reader(const FileOptions& options, std::unique_ptr<SQLite::Database>& db);
// Every page and every row: empty, or the first damage.
std::string quick_check(SQLite::Database& db);

// What SQLite's error means for whoever runs the server.
std::string describe(const std::exception& error);
// Whether it may have been stored although an error was returned.
bool outcome_unknown(const std::exception& error) noexcept;
// Whether trying again without the others may help: the disk is not to blame.
bool is_disk_trouble(const std::exception& error) noexcept;

}  // namespace weir::server
