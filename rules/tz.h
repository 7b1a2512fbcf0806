// A time zone as a list of offsets from UTC, read from a compiled TZif file (RFC 8536).
// The C library's localtime follows the process-wide TZ variable; a limit's calendar has a zone
// of its own, so the agent reads the files itself. Nothing here touches the environment.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace weir {

inline constexpr const char* kZoneinfoDir = "/usr/share/zoneinfo";
inline constexpr std::size_t kZoneFileBytesMax = 256 * 1024;
inline constexpr std::size_t kZoneNameBytesMax = 64;
inline constexpr std::int64_t kOffsetMaxS = 26 * 3600;

// A stretch of time in which the zone keeps one offset: [start, end).
struct ZoneSegment {
  std::int64_t start_wall_s = 0;
  std::int64_t end_wall_s = 0;
  std::int64_t offset_s = 0;  // local time minus UTC
};

// One of the two yearly changes that a POSIX TZ string describes.
struct YearlyRule {
  enum class Form { month_week_day, julian_without_leap_day, day_of_year };
  Form form = Form::month_week_day;
  unsigned month = 1;          // 1..12
  unsigned week = 1;           // 1..5, 5 is the last one
  unsigned weekday = 0;        // 0 is Sunday
  unsigned day = 0;            // of the other two forms
  std::int64_t time_s = 7200;  // after local midnight; -167 h..167 h

  // Midnight of the rule's day plus its time, in seconds of local time.
  std::int64_t local_s(int year) const noexcept;
};

// The TZif footer: what holds after the last transition that the file lists.
struct PosixZone {
  std::int64_t standard_offset_s = 0;
  bool has_daylight = false;
  std::int64_t daylight_offset_s = 0;
  YearlyRule daylight_start;
  YearlyRule daylight_end;
};
std::optional<PosixZone> parse_posix_zone(std::string_view text) noexcept;

class TimeZone {
 public:
  static TimeZone utc() { return TimeZone{}; }
  // The bytes of a TZif file; on failure `error` says what is wrong with them.
  static std::optional<TimeZone> parse(std::span<const unsigned char> bytes, std::string& error);

  ZoneSegment segment_at(std::int64_t wall_s) const noexcept;
  // The largest jump of local time backwards at or after `from`: by how much a day can be longer.
  std::int64_t largest_step_back_s(std::int64_t from_wall_s) const noexcept;

 private:
  struct Transition {
    std::int64_t at_wall_s;
    std::int64_t offset_s;
  };

  // False when the bytes are damaged.
  bool read_transitions(std::span<const unsigned char> data, std::size_t time_bytes,
                        std::size_t transitions, std::size_t types);
  bool read_footer(std::span<const unsigned char> rest);
  ZoneSegment footer_segment_at(std::int64_t wall_s, std::int64_t first_wall_s,
                                std::int64_t first_offset_s) const noexcept;

  std::vector<Transition> transitions_;
  std::int64_t first_offset_s_ = 0;  // before the first transition
  std::optional<PosixZone> footer_;
};

struct ZoneResult {
  std::shared_ptr<const TimeZone> zone;  // null when there is an error
  std::string error;
};

// Letters, digits and _ + - between single slashes: such a name cannot leave the directory.
bool zone_name_is_valid(std::string_view name) noexcept;

// "UTC" needs no file. Anything else is read from `directory`.
ZoneResult load_zone(std::string_view name, const std::string& directory = kZoneinfoDir);

}  // namespace weir
