#include "server/state_file.h"

#include <array>
#include <charconv>
#include <cstdio>

#include "rules/cluster.h"

namespace weir::server {
namespace {

// A record: length and check of what follows, 4 bytes each; then the kind, the agent's epoch, the
// length of the namespace's name, that name, and the host's name. All little-endian.
constexpr std::size_t kRecordHeadBytes = 8;
constexpr std::size_t kPayloadFixedBytes = 1 + 8 + 1;
constexpr std::size_t kPayloadBytesMax =
    kPayloadFixedBytes + kNamespaceNameBytesMax + kHostNameBytesMax + lease::kMarkBytesMax;
constexpr char kMet = 'm';
constexpr char kForgotten = 'f';
constexpr char kWhole = 'w';  // without a host, as is the next
constexpr char kDoubtful = 'd';

template <class Number>
void put(std::string& out, Number value) {
  for (std::size_t i = 0; i < sizeof(Number); ++i)
    out.push_back(static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * i)));
}
template <class Number>
Number get(std::string_view bytes) noexcept {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(Number); ++i)
    value |= std::uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  return static_cast<Number>(value);
}

void append(std::string& out, char kind, std::string_view name_space, const Identity& identity) {
  std::string payload;
  payload.push_back(kind);
  put<std::uint64_t>(payload, identity.agent_epoch);
  put<std::uint8_t>(payload, static_cast<std::uint8_t>(name_space.size()));
  payload += name_space;
  payload += identity.host;
  put<std::uint32_t>(out, static_cast<std::uint32_t>(payload.size()));
  put<std::uint32_t>(out, crc32c(payload));
  out += payload;
}

bool take(std::string_view payload, Known& known) {
  const char kind = payload[0];
  const auto name_bytes = get<std::uint8_t>(payload.substr(9));
  if (payload.size() < kPayloadFixedBytes + name_bytes) return false;
  const bool has_host = payload.size() > kPayloadFixedBytes + name_bytes;
  if (name_bytes == 0 || has_host == (kind == kWhole || kind == kDoubtful)) return false;
  const std::string name_space{payload.substr(kPayloadFixedBytes, name_bytes)};
  Identity identity{std::string{payload.substr(kPayloadFixedBytes + name_bytes)},
                    get<std::uint64_t>(payload.substr(1))};
  if (kind == kMet) {
    known[name_space].identities.insert(std::move(identity));
  } else if (kind == kForgotten) {
    known[name_space].identities.erase(identity);
  } else if (kind == kWhole) {
    known[name_space].whole = true;
  } else if (kind == kDoubtful) {
    known[name_space].whole = false;
  } else {
    return false;
  }
  return true;
}

std::array<std::uint32_t, 256> crc_table() noexcept {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit)
      crc = (crc & 1U) != 0 ? crc >> 1 ^ 0x82f63b78U : crc >> 1;
    table[i] = crc;
  }
  return table;
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) noexcept {
  static const std::array<std::uint32_t, 256> kTable = crc_table();
  std::uint32_t crc = ~0U;
  for (const char byte : bytes)
    crc = crc >> 8 ^ kTable[(crc ^ static_cast<unsigned char>(byte)) & 0xffU];
  return ~crc;
}

void append_met(std::string& out, std::string_view name_space, const Identity& identity) {
  append(out, kMet, name_space, identity);
}
void append_forgotten(std::string& out, std::string_view name_space, const Identity& identity) {
  append(out, kForgotten, name_space, identity);
}

void append_whole(std::string& out, std::string_view name_space, bool whole) {
  append(out, whole ? kWhole : kDoubtful, name_space, {});
}

std::string identities_file(const Known& known) {
  std::string out{kIdentitiesHeader};
  for (const auto& [name_space, hosts] : known) {
    for (const Identity& identity : hosts.identities)
      append_met(out, name_space, identity);
    append_whole(out, name_space, hosts.whole);
  }
  return out;
}

IdentitiesRead read_identities(std::string_view bytes) {
  IdentitiesRead read;
  if (!bytes.starts_with(kIdentitiesHeader)) {
    read.damage = bytes.empty() ? "it is empty" : "its first line is not ours";
    return read;
  }
  std::size_t at = kIdentitiesHeader.size();
  const auto damaged = [&](const char* what) {
    read.damage = std::string{what} + " at byte " + std::to_string(at);
    for (auto& [name_space, hosts] : read.known)
      hosts.whole = false;
    return read;
  };
  while (at < bytes.size()) {
    read.good_bytes = at;
    const std::string_view rest = bytes.substr(at);
    if (rest.size() < kRecordHeadBytes) return damaged("a torn record");
    const auto length = get<std::uint32_t>(rest);
    if (length < kPayloadFixedBytes || length > kPayloadBytesMax)
      return damaged("a record of impossible length");
    if (rest.size() - kRecordHeadBytes < length) return damaged("a torn record");
    const std::string_view payload = rest.substr(kRecordHeadBytes, length);
    if (crc32c(payload) != get<std::uint32_t>(rest.substr(4))) return damaged("a wrong checksum");
    if (!take(payload, read.known)) return damaged("a record that nobody knows");
    ++read.records;
    at += kRecordHeadBytes + length;
  }
  read.good_bytes = at;
  return read;
}

std::string epoch_file(std::uint64_t epoch) {
  std::string text = "weir epoch " + std::to_string(epoch);
  char check[16];
  std::snprintf(check, sizeof(check), " %08x\n", crc32c(text));
  return text + check;
}

std::uint64_t read_epoch(std::string_view text) noexcept {
  constexpr std::string_view kStart = "weir epoch ";
  if (!text.starts_with(kStart)) return 0;
  std::uint64_t epoch = 0;
  const char* const first = text.data() + kStart.size();
  const auto [end, failed] = std::from_chars(first, text.data() + text.size(), epoch);
  if (failed != std::errc{}) return 0;
  const auto length = static_cast<std::size_t>(end - text.data());
  char check[16];
  std::snprintf(check, sizeof(check), " %08x\n", crc32c(text.substr(0, length)));
  return text.substr(length) == check ? epoch : 0;
}

}  // namespace weir::server
