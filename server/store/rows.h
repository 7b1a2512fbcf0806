// Rows of the tables, to and from what the quota book knows. Functions throw what SQLite says;
// a row whose check does not fit throws std::runtime_error with its name.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>

#include <cstdint>
#include <string>

#include "server/store/store.h"

namespace weir::server {

// The columns in the order in which these functions read and bind them.
inline constexpr const char* kQuotaColumns =
    "key, version, gen, total, remaining, consumed, lost, state, type, period, period_end, synced, "
    "config_total, valid_until, rate_per_min, rate_burst, zone, changes, crc";
inline constexpr const char* kHoldingColumns =
    "key, agent_epoch, host, last_seq, gen, consumed, refunded, chunks, crc";
inline constexpr const char* kAuditColumns =
    "id, at, ns, key, action, host, process, uid, amount, remains, outcome";

inline std::int64_t to_column(std::uint64_t value) noexcept {
  return static_cast<std::int64_t>(value);
}

// From `first` on, as kQuotaColumns has them.
void bind_quota(SQLite::Statement& statement, int first, const std::string& key,
                const lease::QuotaRecord& record);
lease::QuotaRecord read_quota(SQLite::Statement& statement, std::string& key);
void bind_holding(SQLite::Statement& statement, int first, const std::string& key,
                  const lease::QuotaHolding& holding);
lease::QuotaHolding read_holding(SQLite::Statement& statement, std::string& key);
AuditRow read_audit(SQLite::Statement& statement);

// Every row of both tables: throws at the first that is damaged.
void verify_rows(SQLite::Database& db);

std::uint64_t key_hash(std::string_view name_space, std::string_view key) noexcept;
// -1: no such action.
int action_of_text(std::string_view name) noexcept;

}  // namespace weir::server
