// The tables of the store, every version of them, and the way from each to the next and back.
#pragma once

#include <string>

namespace SQLite {
class Database;
}

namespace weir::server {

inline constexpr int kSchemaVersion = 3;
inline constexpr int kApplicationId = 0x77656972;  // 'weir', in the file's header

// The version of what is there; 0: an empty file. Throws what SQLite says.
int schema_version(SQLite::Database& db);
// Empty, or why this program cannot work with it.
std::string check_schema(SQLite::Database& db);
// One step after the other, each in a transaction. Empty, or what went wrong; then the steps
// before it were done.
std::string migrate_schema(SQLite::Database& db, int to_version);

}  // namespace weir::server
