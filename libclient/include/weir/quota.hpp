// weir/quota.hpp: weir/quota.h for C++20. Header only, no exceptions, no allocation.
//
//     weir::Quota calls = *weir::Quota::get(client, "api-calls");
//     if (weir::QuotaPermit permit = calls.try_acquire(key)) {
//       handle_it();
//       permit.success();
//     }
//
// A permit that is told nothing has consumed its units: only no outcome is known. An estimate is
// settled once the true cost is known: permit.settle(cost).
#ifndef WEIR_QUOTA_HPP
#define WEIR_QUOTA_HPP

#include <chrono>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "weir/quota.h"
#include "weir/weir.hpp"

namespace weir {

// Units that were taken. Movable, of one thread at a time; its client outlives it.
class QuotaPermit {
 public:
  QuotaPermit() noexcept { permit_.opaque[0] = 0; }
  QuotaPermit(QuotaPermit&& other) noexcept { take(other); }
  QuotaPermit& operator=(QuotaPermit&& other) noexcept {
    if (this != &other) take(other);
    return *this;
  }

  explicit operator bool() const noexcept { return status_ == WEIR_ALLOW; }
  Status status() const noexcept { return Status(status_); }

  // A row of the audit log, once. [setup]
  Status success() noexcept { return end(WEIR_DONE_OK, nullptr); }
  Status failure(const char* reason) noexcept { return end(WEIR_DONE_FAILED, reason); }
  // It was not done: all units go back.
  Status refund(const char* reason = nullptr) noexcept { return end(WEIR_DONE_IGNORED, reason); }
  // See weir_quota_settle. What is taken in the end, if asked for, is in `taken`.
  Status settle(std::uint64_t cost, std::chrono::milliseconds timeout = {},
                std::uint64_t* taken = nullptr) noexcept {
    return Status(weir_quota_settle(&permit_, cost, ms_of(timeout), taken));
  }

 private:
  friend class Quota;
  static std::uint32_t ms_of(std::chrono::milliseconds timeout) noexcept {
    const auto ms = timeout.count();
    return ms <= 0 ? 0 : ms > UINT32_MAX ? UINT32_MAX : static_cast<std::uint32_t>(ms);
  }
  Status end(std::int32_t outcome, const char* reason) noexcept {
    return Status(weir_quota_end(&permit_, outcome, reason));
  }
  void take(QuotaPermit& other) noexcept {
    permit_.opaque[0] = 0;
    if (other.permit_.opaque[0] != 0) std::memcpy(&permit_, &other.permit_, sizeof(permit_));
    status_ = other.status_;
    other.permit_.opaque[0] = 0;
    other.status_ = WEIR_E_INVALID;
  }

  weir_quota_permit permit_;  // the first word is 0 where there is nothing to end
  weir_status status_ = WEIR_E_INVALID;
};

// A quota by name: a plain handle into its client, which outlives it.
class Quota {
 public:
  Quota() noexcept = default;
  static Result<Quota> get(Client& client, const char* name) noexcept {
    Quota quota;
    const weir_status status = weir_quota_get(client.native_handle(), name, &quota.quota_);
    if (status != WEIR_OK) return Status(status);
    return quota;
  }

  // Units of a key. What is on this host is taken at once; else the server's answer is awaited,
  // 250 ms at most. [setup] unless the key is warm.
  QuotaPermit try_acquire(std::string_view key, std::uint64_t units = 1) const noexcept {
    return acquire(key, units, {});
  }
  // Never waits. [warm]
  QuotaPermit try_now(std::string_view key, std::uint64_t units = 1) const noexcept {
    QuotaPermit permit;
    permit.status_ = weir_quota_try(quota_, key.data(), key.size(), units, &permit.permit_);
    return permit;
  }
  // Waits up to `timeout` while that may help.
  QuotaPermit acquire(std::string_view key, std::uint64_t units,
                      std::chrono::milliseconds timeout) const noexcept {
    QuotaPermit permit;
    permit.status_ = weir_quota_acquire(quota_, key.data(), key.size(), units,
                                        QuotaPermit::ms_of(timeout), &permit.permit_);
    return permit;
  }
  // Takes units and will say nothing of their outcome. [warm]
  Status consume(std::string_view key, std::uint64_t units = 1) const noexcept {
    return Status(weir_quota_try(quota_, key.data(), key.size(), units, nullptr));
  }
  weir_quota* get() const noexcept { return quota_; }

 private:
  weir_quota* quota_ = nullptr;
};

}  // namespace weir

#endif  // WEIR_QUOTA_HPP
