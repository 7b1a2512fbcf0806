// Where a server's file wants its store, and how.
#pragma once

#include <string>

#include "rules/cluster.h"
#include "server/store/sqlite_store.h"

namespace weir::server {

inline constexpr const char* kStoreFileName = "quotas.db";

inline std::string store_path(const std::string& state_dir) {
  return state_dir + "/" + kStoreFileName;
}

inline FileOptions store_file_options(const ServerRules& rules) {
  FileOptions file;
  file.path = store_path(rules.state_dir);
  file.sync = rules.store.sync == StoreSync::full     ? Sync::full
              : rules.store.sync == StoreSync::normal ? Sync::normal
                                                      : Sync::off;
  file.allow_unsafe = rules.store.unsafe;
  return file;
}

// But for `post`.
inline SqliteOptions store_options(const ServerRules& rules) {
  SqliteOptions options;
  options.file = store_file_options(rules);
  options.audit_batch_rows = rules.store.audit_batch;
  options.audit_flush_ms = static_cast<std::uint32_t>(rules.store.audit_flush_ms);
  options.audit_queue_rows = rules.store.audit_queue;
  options.retention_days = rules.store.retention_days;
  options.clean_every_h = rules.store.clean_every_h;
  options.clean_batch_rows = rules.store.clean_batch;
  return options;
}

}  // namespace weir::server
