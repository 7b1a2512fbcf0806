#include "server/store/rows.h"

#include <zlib.h>

#include <array>
#include <cstring>
#include <stdexcept>
#include <string_view>
#include <type_traits>

namespace weir::server {
namespace {

using lease::Chunk;
using lease::QuotaHolding;
using lease::QuotaRecord;

// Numbers as eight bytes, the lowest first; texts with their length.
class Bytes {
 public:
  void put(std::uint64_t value) {
    for (int i = 0; i < 8; ++i)
      text_.push_back(static_cast<char>(value >> (8 * i)));
  }
  void put(std::int64_t value) { put(static_cast<std::uint64_t>(value)); }
  void put(std::string_view text) {
    put(static_cast<std::uint64_t>(text.size()));
    text_.append(text);
  }
  const std::string& text() const noexcept { return text_; }
  std::int64_t crc() const noexcept {
    const auto* data = reinterpret_cast<const Bytef*>(text_.data());
    return static_cast<std::int64_t>(::crc32_z(0, data, text_.size()));
  }

 private:
  std::string text_;
};

std::uint64_t number_at(std::string_view bytes, std::size_t offset) noexcept {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < 8; ++i)
    value |= static_cast<std::uint64_t>(static_cast<unsigned char>(bytes[offset + i])) << (8 * i);
  return value;
}

constexpr std::size_t kChunkBytes = 5 * 8;

std::string chunk_bytes(const std::vector<Chunk>& chunks) {
  Bytes bytes;
  for (const Chunk& chunk : chunks) {
    bytes.put(chunk.seq);
    bytes.put(chunk.gen);
    bytes.put(chunk.granted);
    bytes.put(chunk.spent);
    bytes.put(static_cast<std::uint64_t>(chunk.state));
  }
  return bytes.text();
}

std::string change_bytes(const std::vector<std::uint64_t>& changes) {
  Bytes bytes;
  for (const std::uint64_t change : changes)
    bytes.put(change);
  return bytes.text();
}

// In the order of the table's columns, which is also the order of the checksum.
std::array<std::int64_t, 13> columns(const QuotaRecord& record) {
  return {record.total,
          record.remaining,
          record.consumed,
          record.lost,
          static_cast<std::int64_t>(record.state),
          static_cast<std::int64_t>(record.config.type),
          static_cast<std::int64_t>(record.config.period),
          record.period_end_wall_ms,
          record.synced_wall_ms,
          record.config.total,
          record.config.valid_until_wall_ms,
          static_cast<std::int64_t>(record.config.rate_per_min),
          static_cast<std::int64_t>(record.config.rate_burst)};
}

std::int64_t quota_crc(const std::string& key, const QuotaRecord& record,
                       const std::string& changes) {
  Bytes bytes;
  bytes.put(std::string_view(key));
  bytes.put(record.version);
  bytes.put(record.gen);
  for (const std::int64_t value : columns(record))
    bytes.put(value);
  bytes.put(std::string_view(record.config.zone));
  bytes.put(std::string_view(changes));
  return bytes.crc();
}

std::int64_t holding_crc(const std::string& key, const QuotaHolding& holding,
                         const std::string& chunks) {
  Bytes bytes;
  bytes.put(std::string_view(key));
  bytes.put(holding.agent_epoch);
  bytes.put(std::string_view(holding.host));
  bytes.put(holding.last_seq);
  bytes.put(holding.gen);
  bytes.put(holding.consumed);
  bytes.put(holding.refunded);
  bytes.put(std::string_view(chunks));
  return bytes.crc();
}

[[noreturn]] void damaged(const char* table, const std::string& key) {
  std::string printable;
  for (const char c : key)
    printable += c == lease::kQuotaKeySeparator ? '/' : c < ' ' && c >= 0 ? '?' : c;
  throw std::runtime_error(std::string("a row of table ") + table + " is damaged: " + printable);
}

std::string blob(SQLite::Statement& statement, int column) {
  return statement.getColumn(column).getString();
}
std::uint64_t number(SQLite::Statement& statement, int column) {
  return static_cast<std::uint64_t>(statement.getColumn(column).getInt64());
}

}  // namespace

void bind_quota(SQLite::Statement& statement, int first, const std::string& key,
                const QuotaRecord& record) {
  const std::string changes = change_bytes(record.changes);
  statement.bind(first, key);
  statement.bind(first + 1, to_column(record.version));
  statement.bind(first + 2, to_column(record.gen));
  int at = first + 3;
  for (const std::int64_t value : columns(record))
    statement.bind(at++, value);
  statement.bind(at++, record.config.zone);
  statement.bind(at++, changes.data(), static_cast<int>(changes.size()));
  statement.bind(at, quota_crc(key, record, changes));
}

QuotaRecord read_quota(SQLite::Statement& statement, std::string& key) {
  QuotaRecord record;
  key = statement.getColumn(0).getString();
  record.version = number(statement, 1);
  record.gen = number(statement, 2);
  record.total = statement.getColumn(3).getInt64();
  record.remaining = statement.getColumn(4).getInt64();
  record.consumed = statement.getColumn(5).getInt64();
  record.lost = statement.getColumn(6).getInt64();
  record.state = static_cast<lease::QuotaState>(statement.getColumn(7).getInt64());
  record.config.type = static_cast<lease::QuotaType>(statement.getColumn(8).getInt64());
  record.config.period = static_cast<lease::QuotaPeriod>(statement.getColumn(9).getInt64());
  record.period_end_wall_ms = statement.getColumn(10).getInt64();
  record.synced_wall_ms = statement.getColumn(11).getInt64();
  record.config.total = statement.getColumn(12).getInt64();
  record.config.valid_until_wall_ms = statement.getColumn(13).getInt64();
  record.config.rate_per_min = static_cast<std::uint32_t>(number(statement, 14));
  record.config.rate_burst = static_cast<std::uint32_t>(number(statement, 15));
  record.config.zone = statement.getColumn(16).getString();
  const std::string changes = blob(statement, 17);
  for (std::size_t i = 0; i + 8 <= changes.size(); i += 8)
    record.changes.push_back(number_at(changes, i));
  if (quota_crc(key, record, changes) != statement.getColumn(18).getInt64()) damaged("quota", key);
  return record;
}

void bind_holding(SQLite::Statement& statement, int first, const std::string& key,
                  const QuotaHolding& holding) {
  const std::string chunks = chunk_bytes(holding.chunks);
  statement.bind(first, key);
  statement.bind(first + 1, to_column(holding.agent_epoch));
  statement.bind(first + 2, holding.host);
  statement.bind(first + 3, to_column(holding.last_seq));
  statement.bind(first + 4, to_column(holding.gen));
  statement.bind(first + 5, holding.consumed);
  statement.bind(first + 6, holding.refunded);
  statement.bind(first + 7, chunks.data(), static_cast<int>(chunks.size()));
  statement.bind(first + 8, holding_crc(key, holding, chunks));
}

QuotaHolding read_holding(SQLite::Statement& statement, std::string& key) {
  QuotaHolding holding;
  key = statement.getColumn(0).getString();
  holding.agent_epoch = number(statement, 1);
  holding.host = statement.getColumn(2).getString();
  holding.last_seq = number(statement, 3);
  holding.gen = number(statement, 4);
  holding.consumed = statement.getColumn(5).getInt64();
  holding.refunded = statement.getColumn(6).getInt64();
  const std::string chunks = blob(statement, 7);
  for (std::size_t i = 0; i + kChunkBytes <= chunks.size(); i += kChunkBytes) {
    Chunk chunk;
    chunk.seq = number_at(chunks, i);
    chunk.gen = number_at(chunks, i + 8);
    chunk.granted = static_cast<lease::Units>(number_at(chunks, i + 16));
    chunk.spent = static_cast<lease::Units>(number_at(chunks, i + 24));
    chunk.state = static_cast<lease::ChunkState>(number_at(chunks, i + 32));
    holding.chunks.push_back(chunk);
  }
  if (holding_crc(key, holding, chunks) != statement.getColumn(8).getInt64())
    damaged("holding", key);
  return holding;
}

AuditRow read_audit(SQLite::Statement& statement) {
  AuditRow row;
  row.id = number(statement, 0);
  row.event.at_wall_ms = statement.getColumn(1).getInt64();
  row.name_space = statement.getColumn(2).getString();
  row.key = statement.getColumn(3).getString();
  row.event.action = static_cast<lease::QuotaAction>(statement.getColumn(4).getInt64());
  row.event.host = statement.getColumn(5).getString();
  row.event.process = statement.getColumn(6).getString();
  row.event.uid = static_cast<std::uint32_t>(number(statement, 7));
  row.event.amount = statement.getColumn(8).getInt64();
  row.event.left = statement.getColumn(9).getInt64();
  row.event.outcome = statement.getColumn(10).getString();
  return row;
}

void verify_rows(SQLite::Database& db) {
  std::string key;
  SQLite::Statement quotas(db, std::string("SELECT ") + kQuotaColumns + " FROM quota");
  while (quotas.executeStep())
    read_quota(quotas, key);
  SQLite::Statement holdings(db, std::string("SELECT ") + kHoldingColumns + " FROM holding");
  while (holdings.executeStep())
    read_holding(holdings, key);
}

// FNV-1a: the same on every machine and in every version.
std::uint64_t key_hash(std::string_view name_space, std::string_view key) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  const auto add = [&](std::string_view text) {
    for (const char c : text)
      hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    hash = (hash ^ 0xff) * 0x100000001b3ULL;
  };
  add(name_space);
  add(key);
  return hash;
}

int action_of_text(std::string_view name) noexcept {
  for (int i = 0; i <= static_cast<int>(lease::QuotaAction::restore); ++i)
    if (to_text(static_cast<lease::QuotaAction>(i)) == name) return i;
  return -1;
}

}  // namespace weir::server
