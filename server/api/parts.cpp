#include "server/api/parts.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <ctime>

#include "rules/quota.h"
#include "rules/tz.h"

namespace weir::server::api {

namespace {

constexpr std::string_view kHexDigits = "0123456789abcdef";

std::optional<unsigned> hex_digit(char c) noexcept {
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a') + 10;
  if (c >= 'A' && c <= 'F') return static_cast<unsigned>(c - 'A') + 10;
  return std::nullopt;
}

std::optional<std::string> percent_decode(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const auto high = hex_digit(text[i + 1]);
    const auto low = hex_digit(text[i + 2]);
    if (!high || !low) return std::nullopt;
    out += static_cast<char>(*high * 16 + *low);
    i += 2;
  }
  return out;
}

template <class Number>
std::optional<Number> whole(std::string_view text) noexcept {
  Number value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string_view title_of(unsigned status) noexcept {
  switch (status) {
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 409:
      return "Conflict";
    case 415:
      return "Unsupported Media Type";
    case 422:
      return "Unprocessable Content";
    default:
      return "Service Unavailable";
  }
}

// Two digits at a place of an RFC 3339 time; -1: there are none.
int two_digits(std::string_view text, std::size_t at) noexcept {
  if (at + 2 > text.size() || text[at] < '0' || text[at] > '9' || text[at + 1] < '0' ||
      text[at + 1] > '9')
    return -1;
  return (text[at] - '0') * 10 + (text[at + 1] - '0');
}

// 'Z' or +hh:mm, in seconds east of Greenwich.
std::optional<int> zone_offset_s(std::string_view text) noexcept {
  if (text == "Z" || text == "z") return 0;
  if (text.size() != 6 || (text[0] != '+' && text[0] != '-') || text[3] != ':') return std::nullopt;
  const int hours = two_digits(text, 1), minutes = two_digits(text, 4);
  if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59) return std::nullopt;
  const int offset_s = (hours * 60 + minutes) * 60;
  return text[0] == '-' ? -offset_s : offset_s;
}

}  // namespace

HttpResponse json_response(unsigned status, const Json& body) {
  HttpResponse response;
  response.status = status;
  response.content_type = "application/json";
  // Whatever is no UTF-8 after all becomes a sign for it, not an exception.
  response.body = body.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  return response;
}

HttpResponse problem(unsigned status, std::string_view code, std::string_view detail) {
  HttpResponse response = json_response(status, Json{{"type", "about:blank"},
                                                     {"title", title_of(status)},
                                                     {"status", status},
                                                     {"code", code},
                                                     {"detail", detail}});
  response.content_type = "application/problem+json";
  if (status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  if (status == 503) response.headers.emplace_back("Retry-After", "1");
  return response;
}

std::optional<std::vector<std::string>> path_segments(std::string_view path) {
  std::vector<std::string> segments;
  while (!path.empty()) {
    path.remove_prefix(1);  // the '/'
    const std::size_t end = std::min(path.find('/'), path.size());
    auto segment = percent_decode(path.substr(0, end));
    if (!segment) return std::nullopt;
    segments.push_back(std::move(*segment));
    path.remove_prefix(end);
  }
  return segments;
}

std::optional<std::int64_t> parse_time(std::string_view text) {
  if (const auto ms = whole<std::int64_t>(text)) {
    if (*ms < 0 || *ms > kTimeMaxMs) return std::nullopt;
    return ms;
  }
  // 2026-11-22T10:00:00[.123](Z|+01:00)
  if (text.size() < 20 || text[4] != '-' || text[7] != '-' || (text[10] != 'T' && text[10] != 't'))
    return std::nullopt;
  if (text[13] != ':' || text[16] != ':') return std::nullopt;
  const int century = two_digits(text, 0), year = two_digits(text, 2), month = two_digits(text, 5),
            day = two_digits(text, 8), hour = two_digits(text, 11), minute = two_digits(text, 14),
            second = two_digits(text, 17);
  if (century < 0 || year < 0 || month < 1 || month > 12 || day < 1 || day > 31 || hour < 0 ||
      hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60)
    return std::nullopt;
  std::size_t at = 19;
  std::int64_t ms = 0;
  if (text[at] == '.') {
    std::int64_t unit = 100;
    for (++at; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at, unit /= 10)
      ms += (text[at] - '0') * unit;
  }
  const auto offset_s = zone_offset_s(text.substr(at));
  if (!offset_s) return std::nullopt;
  using namespace std::chrono;
  const year_month_day date{std::chrono::year{century * 100 + year},
                            std::chrono::month{static_cast<unsigned>(month)},
                            std::chrono::day{static_cast<unsigned>(day)}};
  if (!date.ok()) return std::nullopt;
  const std::int64_t days = sys_days{date}.time_since_epoch().count();
  const std::int64_t wall_s = days * 86'400 + hour * 3'600 + minute * 60 + second - *offset_s;
  const std::int64_t wall_ms = wall_s * 1'000 + ms;
  if (wall_ms < 0 || wall_ms > kTimeMaxMs) return std::nullopt;
  return wall_ms;
}

std::string format_time(std::int64_t wall_ms) {
  const std::time_t wall_s = static_cast<std::time_t>(wall_ms / 1'000);
  struct tm parts {};
  if (wall_ms < 0 || ::gmtime_r(&wall_s, &parts) == nullptr) return "1970-01-01T00:00:00.000Z";
  char day[32];
  (void)std::strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &parts);
  char text[48];
  (void)std::snprintf(text, sizeof(text), "%s.%03dZ", day, static_cast<int>(wall_ms % 1'000));
  return text;
}

std::uint64_t query_number(const HttpRequest& request, std::string_view key, std::uint64_t absent,
                           std::uint64_t least, std::uint64_t most, std::string& error) {
  const std::string text = request.query_value(key);
  if (text.empty()) return absent;
  const auto value = whole<std::uint64_t>(text);
  if (value && *value >= least && *value <= most) return *value;
  if (error.empty())
    error = std::string(key) + " must be a whole number from " + std::to_string(least) + " to " +
            std::to_string(most);
  return absent;
}

std::string to_cursor(std::string_view text) {
  std::string cursor;
  for (const char c : text) {
    cursor += kHexDigits[static_cast<unsigned char>(c) >> 4];
    cursor += kHexDigits[static_cast<unsigned char>(c) & 15];
  }
  return cursor;
}

std::optional<std::string> from_cursor(std::string_view cursor) {
  if (cursor.size() % 2 != 0 || cursor.size() > 2 * lease::kQuotaKeyBytesMax) return std::nullopt;
  std::string text;
  for (std::size_t i = 0; i < cursor.size(); i += 2) {
    const auto high = hex_digit(cursor[i]);
    const auto low = hex_digit(cursor[i + 1]);
    if (!high || !low) return std::nullopt;
    text += static_cast<char>(*high * 16 + *low);
  }
  return text;
}

// ------------------------------------------------------------------ bodies

Fields::Fields(const std::string& body) {
  body_ = body.empty() ? nlohmann::json::object() : nlohmann::json::parse(body, nullptr, false);
  if (body_.is_discarded())
    error_ = "the body is no JSON";
  else if (!body_.is_object())
    error_ = "the body must be a JSON object";
}

const nlohmann::json* Fields::member(const char* name) {
  read_.emplace_back(name);
  if (!body_.is_object()) return nullptr;
  const auto found = body_.find(name);
  return found == body_.end() || found->is_null() ? nullptr : &*found;
}

void Fields::fail(std::string what) {
  if (error_.empty()) error_ = std::move(what);
}

bool Fields::has(const char* name) { return member(name) != nullptr; }

std::optional<std::int64_t> Fields::amount(const char* name, std::int64_t least,
                                           std::int64_t most) {
  const nlohmann::json* value = member(name);
  if (value == nullptr) return std::nullopt;
  // A number that is too large for 64 bits is one with a fraction to the parser, and refused.
  const bool small = value->is_number_integer() &&
                     (!value->is_number_unsigned() ||
                      value->get<std::uint64_t>() <= static_cast<std::uint64_t>(INT64_MAX));
  if (small) {
    const auto number = value->get<std::int64_t>();
    if (number >= least && number <= most) return number;
  }
  fail(std::string(name) + " must be a whole number from " + std::to_string(least) + " to " +
       std::to_string(most));
  return std::nullopt;
}

std::optional<std::string> Fields::text(const char* name) {
  const nlohmann::json* value = member(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return value->get<std::string>();
  fail(std::string(name) + " must be a text");
  return std::nullopt;
}

std::optional<std::uint64_t> Fields::id(const char* name) {
  const nlohmann::json* value = member(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_number_unsigned()) return value->get<std::uint64_t>();
  if (value->is_string())
    if (const auto number = whole<std::uint64_t>(value->get_ref<const std::string&>()))
      return number;
  fail(std::string(name) + " must be a whole number, as such or as text");
  return std::nullopt;
}

std::optional<std::int64_t> Fields::time(const char* name) {
  const nlohmann::json* value = member(name);
  if (value == nullptr) return std::nullopt;
  std::optional<std::int64_t> time;
  if (value->is_string()) time = parse_time(value->get_ref<const std::string&>());
  if (value->is_number_integer()) time = parse_time(value->dump());
  if (!time)
    fail(std::string(name) +
         " must be a time such as 2027-01-31T00:00:00Z, or milliseconds since 1970");
  return time;
}

std::string Fields::error() {
  if (!error_.empty()) return error_;
  for (const auto& [name, value] : body_.items())
    if (std::find(read_.begin(), read_.end(), name) == read_.end())
      return "there is no member '" + name.substr(0, 64) + "' here";
  return {};
}

bool read_config(Fields& fields, lease::QuotaConfig& config, std::string& error) {
  const auto word = [&](const char* name, auto& value, auto last) {
    const auto text = fields.text(name);
    if (!text) return;
    using Enum = std::remove_reference_t<decltype(value)>;
    for (unsigned i = 0; i <= static_cast<unsigned>(last); ++i) {
      if (lease::to_text(static_cast<Enum>(i)) != *text) continue;
      value = static_cast<Enum>(i);
      return;
    }
    std::string all;
    for (unsigned i = 0; i <= static_cast<unsigned>(last); ++i)
      all += (i == 0 ? "" : ", ") + std::string(lease::to_text(static_cast<Enum>(i)));
    fields.fail(std::string(name) + " must be one of " + all);
  };
  word("type", config.type, lease::QuotaType::hybrid);
  word("period", config.period, lease::QuotaPeriod::month);
  if (const auto total = fields.amount("total", 0, lease::kUnitsMax)) config.total = *total;
  if (const auto rate = fields.amount("rate_per_min", 0, kQuotaRateMax))
    config.rate_per_min = static_cast<std::uint32_t>(*rate);
  if (const auto burst = fields.amount("rate_burst", 0, kQuotaRateMax))
    config.rate_burst = static_cast<std::uint32_t>(*burst);
  if (const auto until = fields.time("valid_until")) config.valid_until_wall_ms = *until;
  if (const auto zone = fields.text("timezone")) {
    if (const ZoneResult found = load_zone(*zone); found.zone == nullptr)
      fields.fail("timezone: " + found.error);
    config.zone = *zone;
  }
  if (error.empty()) error = fields.error();
  return error.empty();
}

}  // namespace weir::server::api
