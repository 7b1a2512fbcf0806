// weir-server db: backup, restore, migrate, check. Blocking, and without a server.
#pragma once

#include <string>

namespace weir::server {

struct DbOptions {
  std::string file;          // the server's, which says where the store is
  std::string state_dir;     // in place of what it says; empty: as it says
  std::string store;         // the store itself; empty: that of the state directory
  std::string copy;          // backup: to, restore: from
  int to_version = 0;        // migrate; 0: this program's own
  bool keep_active = false;  // restore: do not suspend the quotas
};

// All print what they did, or why not, and return an exit code.
int db_backup(const DbOptions& options);
int db_restore(const DbOptions& options);
int db_migrate(const DbOptions& options);
int db_check(const DbOptions& options);

}  // namespace weir::server
