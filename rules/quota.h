// What a server's file says of quotas that last: which there are, where they are kept, who may
// change them. Pure data, checked and with every default filled in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace weir {

inline constexpr std::size_t kQuotasMax = 256;  // of a namespace
inline constexpr std::size_t kQuotaRuleNameBytesMax = 128;
inline constexpr std::size_t kApiTokensMax = 256;
inline constexpr std::uint64_t kQuotaTotalMax = 1'000'000'000'000'000;
inline constexpr std::uint32_t kQuotaRateMax = 60'000'000;  // a minute

enum class QuotaKind : std::uint32_t { count = 0, time, hybrid };
enum class QuotaEvery : std::uint32_t { none = 0, day, week, month };
enum class QuotaKeys : std::uint32_t {
  listed = 0,  // those that an operator has made
  any,         // made at their first use
};

// A quota by name. Each key of it has its own count; what stands here is what a key begins with.
struct QuotaRule {
  std::string name;
  QuotaKind kind = QuotaKind::count;
  std::uint64_t total = 0;  // units a key has in each period; of no meaning for `time`
  QuotaEvery every = QuotaEvery::none;
  std::string timezone = "UTC";    // IANA name; of the period's edges
  std::uint64_t valid_ns = 0;      // from the making of a key on; time and hybrid have one
  std::uint32_t rate_per_min = 0;  // of a key; 0: none
  std::uint32_t rate_burst = 0;    // 0: a tenth of a minute's worth
  std::uint64_t chunk_min = 1;     // units that a host is given at a time, while there are enough
  std::uint64_t chunk_max = kQuotaTotalMax;
  QuotaKeys keys = QuotaKeys::listed;
  int line = 0;

  bool operator==(const QuotaRule&) const = default;
};

enum class StoreSync : std::uint32_t { full = 0, normal, off };

// The file in the state directory that holds the quotas and the audit log.
struct StoreRule {
  StoreSync sync = StoreSync::full;
  bool unsafe = false;  // a lesser sync, or a file system that forgets, is what is wanted
  std::uint32_t audit_batch = 500;
  std::uint64_t audit_flush_ms = 500;
  std::uint32_t audit_queue = 10'000;
  std::uint32_t retention_days = 180;  // 0: rows are kept for ever
  std::uint32_t clean_every_h = 24;    // 0: never
  std::uint32_t clean_batch = 10'000;

  bool operator==(const StoreRule&) const = default;
};

enum class ApiRole : std::uint32_t {
  reader = 0,  // sees
  operate,     // and tops up, resets, suspends, resumes, writes back
  admin,       // and makes, configures, deletes
};

struct ApiToken {
  std::string name;  // of who has it, for the audit log
  ApiRole role = ApiRole::reader;
  std::string token;                    // "sha256:<64 hex digits>"
  std::vector<std::string> namespaces;  // empty: all

  bool operator==(const ApiToken&) const = default;
};
std::string_view to_text(ApiRole role) noexcept;

}  // namespace weir
