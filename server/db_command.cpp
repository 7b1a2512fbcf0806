#include "server/db_command.h"

#include <cstdio>

#include "rules/parse.h"
#include "server/app.h"
#include "server/command.h"
#include "server/store/maintenance.h"
#include "server/store/schema.h"
#include "server/store_options.h"
#include "server/wall_clock.h"

namespace weir::server {
namespace {

// Empty, and said, when the server's file cannot be read.
std::string path_of(const DbOptions& options) {
  if (!options.store.empty()) return options.store;
  if (!options.state_dir.empty()) return store_path(options.state_dir);
  const ServerParseResult parsed = load_server_file(options.file);
  for (const Problem& problem : parsed.problems)
    std::fprintf(stderr, "%s\n", to_string(problem).c_str());
  return parsed.ok() ? store_path(parsed.rules->state_dir) : std::string();
}

}  // namespace

int db_backup(const DbOptions& options) {
  const std::string path = path_of(options);
  if (path.empty()) return kExitConfig;
  if (const std::string why = backup_store(path, options.copy); !why.empty())
    return command_failed("db", why);
  std::printf("%s: a copy of %s, checked\n", options.copy.c_str(), path.c_str());
  return kExitOk;
}

int db_restore(const DbOptions& options) {
  const std::string path = path_of(options);
  if (path.empty()) return kExitConfig;
  RestoreOptions restore;
  restore.suspend = !options.keep_active;
  restore.wall_ms = wall_now_ms();
  if (const std::string why = restore_store(options.copy, path, restore); !why.empty())
    return command_failed("db", why);
  std::printf("%s: restored from %s; what was there before is %s.before-restore\n", path.c_str(),
              options.copy.c_str(), path.c_str());
  if (restore.suspend)
    std::printf(
        "every quota is suspended: what was handed out since the backup is not known. Look at "
        "each, "
        "set what remains (reset) and resume it.\n");
  return kExitOk;
}

int db_migrate(const DbOptions& options) {
  const std::string path = path_of(options);
  if (path.empty()) return kExitConfig;
  const int to = options.to_version == 0 ? kSchemaVersion : options.to_version;
  if (const std::string why = migrate_store(path, to); !why.empty())
    return command_failed("db", why);
  std::printf("%s: version %d\n", path.c_str(), to);
  return kExitOk;
}

int db_check(const DbOptions& options) {
  const std::string path = path_of(options);
  if (path.empty()) return kExitConfig;
  CheckReport report;
  const std::string why = check_store(path, report);
  if (!why.empty()) return command_failed("db", why);
  std::printf("%s: in order; version %d, %llu quotas, %llu holdings, %llu audit rows\n",
              path.c_str(), report.version, static_cast<unsigned long long>(report.quotas),
              static_cast<unsigned long long>(report.holdings),
              static_cast<unsigned long long>(report.audit_rows));
  return kExitOk;
}

}  // namespace weir::server
