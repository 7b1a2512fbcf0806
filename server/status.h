// What a server says of itself: plain values, taken at one instant, to be carried to another
// thread.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lease/book.h"
#include "lease/permit_book.h"
#include "lease/quota_book.h"
#include "net/listener.h"
#include "server/state_store.h"
#include "server/store/store.h"

namespace weir::server {

// How long things took, in powers of two of nanoseconds.
class Times {
 public:
  static constexpr std::size_t kBuckets = 40;  // the last one ends at about nine minutes

  void add(std::int64_t duration_ns) noexcept {
    const auto ns = static_cast<std::uint64_t>(duration_ns < 0 ? 0 : duration_ns);
    const auto bits = static_cast<std::size_t>(std::bit_width(ns));
    ++counts_[bits < kBuckets ? bits : kBuckets - 1];
    ++count_;
    sum_ns_ += ns;
  }
  // At or below 2^bits - 1 nanoseconds.
  std::uint64_t at_most(std::size_t bits) const noexcept {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i <= bits && i < kBuckets; ++i)
      sum += counts_[i];
    return sum;
  }
  std::uint64_t count() const noexcept { return count_; }
  std::uint64_t sum_ns() const noexcept { return sum_ns_; }

 private:
  std::array<std::uint64_t, kBuckets> counts_{};
  std::uint64_t count_ = 0;
  std::uint64_t sum_ns_ = 0;
};

// The limits of no further namespace are listed, nor its concurrency limits, when there are so
// many: a page of metrics must not hold heartbeats up.
inline constexpr std::size_t kStatusLimitsMax = 4096;

enum class Refusal : std::uint8_t { name_space, credential, host, full, malformed, redirected };
inline constexpr std::size_t kRefusals = 6;
inline constexpr std::array<const char*, kRefusals> kRefusalNames{
    "namespace", "credential", "host", "full", "malformed", "redirected"};

struct LimitStatus {
  lease::Book::LimitReport report;
  bool per_host = false;
  std::string parent;
  std::uint32_t band = 0;
  lease::Micro spent_per_s = 0;
  lease::Micro refused_per_s = 0;
};

struct SpaceCounts {
  std::uint64_t requests_total = 0;  // answered, busy ones included
  std::uint64_t busy_total = 0;
  std::uint64_t ignored_total = 0;  // out of order, or of a session that is no more
  std::uint64_t grants_total = 0;   // rows that changed somebody's terms
  std::uint64_t pokes_total = 0;
  std::uint64_t hellos_total = 0;
  std::uint64_t new_identities_total = 0;  // asked for: a copy of a host was seen
  std::uint64_t replaced_total = 0;        // connections, by a newer one of the same host
  std::uint64_t rules_sent_total = 0;
};

struct HostStatus {  // one that is connected
  std::string host;
  std::string address;
  std::string version;
  std::uint64_t agent_epoch = 0;
  std::uint64_t since_ms = 0;      // how long this session lasts
  std::uint64_t heard_ago_ms = 0;  // since its last word
};

struct QuotaSpaceStatus {
  lease::QuotaBookStats book;
  std::size_t rules = 0;  // quotas in the file
  std::uint64_t usage_rows_total = 0;
  std::uint64_t usage_repeated_total = 0;  // batches that came again
};

struct SpaceStatus {
  std::string name;
  bool owner = true;
  bool learning = false;
  std::uint64_t learning_left_ms = 0;
  std::uint64_t epoch = 0;
  std::uint64_t rules_version = 0;
  std::uint32_t guard = 0;
  std::size_t sessions = 0;  // connected
  std::size_t hosts = 0;     // that hold something, or could
  std::int64_t refresh_ns = 0;
  std::int64_t ttl_ns = 0;
  std::int64_t tail_ns = 0;
  std::uint64_t requests_per_s = 0;
  SpaceCounts counts;
  std::vector<lease::PermitStatus> permits;
  std::optional<QuotaSpaceStatus> quotas;  // where the server has a store for them
  std::size_t limit_count = 0;
  std::vector<LimitStatus> limits;  // empty when they are not listed
};

struct ServerStatus {
  std::string name;
  std::string version;
  std::vector<std::string> addresses;
  std::uint64_t epoch = 0;
  std::uint64_t uptime_ms = 0;
  std::size_t connections = 0;
  std::array<std::uint64_t, kRefusals> refused_total{};
  std::uint64_t reloads_total = 0;
  std::uint64_t reload_failures_total = 0;
  std::string reload_error;  // of the last reload; empty when it was good
  std::int64_t certificate_seconds_left = INT64_MAX;
  StateStats state;
  net::ListenerStats listeners;  // the sum of all
  Times request_times;
  std::vector<SpaceStatus> spaces;
  // Where the server has them.
  std::optional<StoreStats> quota_store;
  std::optional<AuditStats> audit;
  std::optional<CleanStats> clean;
};

}  // namespace weir::server
