// What 'weir-server db' does with a store: backup, restore, migrate, check. Blocking.
#pragma once

#include <cstdint>
#include <string>

#include "server/store/sqlite_file.h"

namespace weir::server {

struct CheckReport {
  int version = 0;
  std::uint64_t quotas = 0, holdings = 0, audit_rows = 0;
  std::uint64_t wrong = 0;  // rows that are damaged, books that do not balance
  std::string first_wrong;
};

// All functions: empty, or what went wrong.

// A whole copy while servers go on writing; `to` must not be there yet.
std::string backup_store(const std::string& from, const std::string& to);

struct RestoreOptions {
  // Every quota is suspended until an operator has looked at it: what was handed out since the
  // backup is not known, and would be handed out again.
  bool suspend = true;
  std::int64_t wall_ms = 0;  // now
};
// In place of the store at `to`, which is kept beside it under a name ending in .before-restore.
// Every quota begins a new generation, so that no chunk of before is credited to it; what was out
// at the time of the backup is lost.
std::string restore_store(const std::string& from, const std::string& to,
                          const RestoreOptions& options);
std::string migrate_store(const std::string& path, int to_version);
// Every page, every row and every book.
std::string check_store(const std::string& path, CheckReport& report);

}  // namespace weir::server
