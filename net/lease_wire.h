// The bounds of the lease protocol, and the one place that holds a decoded message against them.
//
// What passes check() may be used without another look: every column of a table is as long as the
// others and at most kRowsMax, amounts are at most kMicroMax, times at most kTimeNsMax, names have
// a length and are clean text; the chunks of a quota's keys are as many as their keys say. What it
// does not know: whether sessions, sequences and limits exist.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "weir/v1/lease.pb.h"

namespace weir::net {

inline constexpr std::uint32_t kProtocolMajor = 1;
inline constexpr std::uint32_t kProtocolMinor = 2;  // 1: quotas, 2: permits

inline constexpr std::uint32_t kLeaseFrameBytesMax = 1U << 20;
// Before the server knows who speaks. A hello with kClaimsMax claims fits.
inline constexpr std::uint32_t kHelloFrameBytesMax = 128U << 10;

inline constexpr int kRowsMax = 4096;
inline constexpr int kClaimsMax = 1280;
inline constexpr int kRedirectsMax = 16;
inline constexpr std::size_t kLimitNameBytesMax = 127;
inline constexpr std::size_t kHostNameBytesMax = 255;
inline constexpr std::size_t kNamespaceBytesMax = 63;
inline constexpr std::size_t kTokenBytesMax = 512;
inline constexpr std::size_t kVersionBytesMax = 63;
inline constexpr std::size_t kAddressBytesMax = 300;
inline constexpr std::size_t kPushDescriptionBytesMax = 1024;
inline constexpr std::size_t kPageTokenBytesMax = 512;
inline constexpr std::size_t kTextBytesMax = 1024;  // what people read: reasons, errors
inline constexpr std::uint64_t kMicroMax = std::uint64_t{1} << 60;
inline constexpr std::uint64_t kTimeNsMax = 86'400'000'000'000;  // a day
inline constexpr std::uint64_t kPeriodNsMax = 366 * kTimeNsMax;  // of a rule
inline constexpr std::uint32_t kWeightMax = 1'000'000;
inline constexpr std::uint32_t kBandMax = 15;
inline constexpr int kQuotaRowsMax = 1024;  // keys in one message
inline constexpr int kQuotaChunksMax = 4;   // of one key
inline constexpr int kQuotaUsageRowsMax = 500;
inline constexpr std::size_t kQuotaNameBytesMax = 128;
inline constexpr std::size_t kQuotaKeyBytesMax = 383;  // with the name and a separator 512
inline constexpr std::size_t kQuotaProcessBytesMax = 64;
inline constexpr std::size_t kQuotaReasonBytesMax = 128;
inline constexpr std::uint64_t kQuotaUnitsMax = 1'000'000'000'000'000;
inline constexpr int kPermitRowsMax = 1024;
inline constexpr std::uint64_t kPermitsMax = (1U << 19) - 1;  // of one resource on one host
inline constexpr std::uint64_t kWallMsMax = std::uint64_t{1} << 53;

enum class ToServerKind : std::uint8_t {
  none,  // empty, more than one, or newer than this program
  hello,
  request,
  ack,
  goodbye,
  ping,
  cluster_query,
  quota_asks,
  quota_usage,
  permit_reports,
};
enum class ToAgentKind : std::uint8_t {
  none,
  welcome,
  answer,
  rules,
  poke,
  redirect,
  refused,
  pong,
  cluster_report,
  quota_replies,
  quota_pokes,
  quota_usage_taken,
  permit_grants,
};
ToServerKind kind_of(const v1::ToServer& message) noexcept;
ToAgentKind kind_of(const v1::ToAgent& message) noexcept;

// What is wrong with a message; nothing when `text` is empty.
struct Complaint {
  v1::RefusedCode code = v1::REFUSED_UNSPECIFIED;
  std::string text;

  explicit operator bool() const noexcept { return !text.empty(); }
};
Complaint check(const v1::ToServer& message);
Complaint check(const v1::ToAgent& message);

// A message of a kind that only a newer program knows. It passes check() and is passed over.
bool is_newer(const v1::ToServer& message) noexcept;
bool is_newer(const v1::ToAgent& message) noexcept;

// Bytes to a checked message. `message` is meant to be the same object again and again: its memory
// is used anew. Before anything is allocated, the fields are counted.
Complaint decode(std::string_view payload, v1::ToServer& message);
Complaint decode(std::string_view payload, v1::ToAgent& message);

// Appends the frame of a message. False, and `out` as before, when it is larger than
// kLeaseFrameBytesMax.
bool append_frame(std::string& out, const google::protobuf::MessageLite& message);

// Valid UTF-8 without control characters, of either set (C0, DEL, C1).
bool is_clean_text(std::string_view text) noexcept;

}  // namespace weir::net
