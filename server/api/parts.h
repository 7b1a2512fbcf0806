// The parts of the API that its files share. Internal to this folder.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/http/message.h"
#include "lease/quota_book.h"
#include "server/store/store.h"
#include "server/token_server.h"
#include "server/wall_clock.h"

namespace weir::server::api {

using Json = nlohmann::ordered_json;  // keys in the order in which they were written

inline constexpr std::size_t kIdempotencyKeyBytesMax = 128;
inline constexpr std::int64_t kTimeMaxMs = 253'402'300'799'999;  // the end of the year 9999
inline constexpr std::uint32_t kPageDefault = 100;
inline constexpr std::uint32_t kQuotaPageMax = 1'000;
inline constexpr std::uint64_t kAuditSkipMax = 1'000'000;  // rows that a page number may pass over

// ---- answers

HttpResponse json_response(unsigned status, const Json& body);
// An error as RFC 9457 has it; `code` is for programs, `detail` for people.
HttpResponse problem(unsigned status, std::string_view code, std::string_view detail);

// ---- requests

// The segments of a path, percent-decoded; nothing when an escape is broken.
std::optional<std::vector<std::string>> path_segments(std::string_view path);
// RFC 3339, or milliseconds since 1970.
std::optional<std::int64_t> parse_time(std::string_view text);
std::string format_time(std::int64_t wall_ms);

// A whole number of a query, with its bounds; `absent` when it is not there. What is wrong goes
// into `error`, if nothing is there yet.
std::uint64_t query_number(const HttpRequest& request, std::string_view key, std::uint64_t absent,
                           std::uint64_t least, std::uint64_t most, std::string& error);

// The members of a body that is a JSON object, each known by name. The first that is wrong is kept.
class Fields {
 public:
  explicit Fields(const std::string& body);

  bool has(const char* name);
  std::optional<std::int64_t> amount(const char* name, std::int64_t least, std::int64_t most);
  std::optional<std::string> text(const char* name);
  // Also as text, since a 64-bit number is more than JavaScript has.
  std::optional<std::uint64_t> id(const char* name);
  std::optional<std::int64_t> time(const char* name);
  void fail(std::string what);
  // What is wrong, unknown members included; empty: nothing. After everything was read.
  std::string error();

 private:
  const nlohmann::json* member(const char* name);

  nlohmann::json body_;
  std::vector<std::string> read_;
  std::string error_;
};

// ---- views

Json to_json(const std::string& name_space, const std::string& key,
             const lease::QuotaRecord& record);
Json to_json(const lease::QuotaHolding& holding);
Json to_json(const AuditRow& row);
Json to_json(const LimitStatus& limit);
Json to_json(const lease::PermitStatus& concurrency);
Json to_json(const HostStatus& host);
Json to_json(const SpaceStatus& space);
Json to_json(const CleanStats& stats);
Json to_json(const ServerStatus& status);

// Reads what the body of a creation or configuration says, over what is there. False: see `error`.
bool read_config(Fields& fields, lease::QuotaConfig& config, std::string& error);

// As `next` in a page: letters and digits alone.
std::string to_cursor(std::string_view text);
std::optional<std::string> from_cursor(std::string_view cursor);

using weir::server::wall_now_ms;

}  // namespace weir::server::api
