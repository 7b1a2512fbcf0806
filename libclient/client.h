// What lies behind the opaque handles of weir.h.
#pragma once

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <memory>

#include "shm/clock.h"
#include "shm/fd.h"
#include "shm/frame.h"
#include "shm/quota.h"
#include "shm/segment.h"
#include "shm/stripe.h"
#include "shm/toolkit.h"
#include "shm/view.h"
#include "weir/quota.h"
#include "weir/toolkit.h"
#include "weir/weir.h"

namespace weir::client {

inline constexpr std::uint32_t kAttachmentsMax = 16;
inline constexpr std::uint32_t kLimitsPerClientMax = 4096;
inline constexpr std::int64_t kAttachRetryNs = 100'000'000;
inline constexpr std::int64_t kRefusedRetryNs = 1'000'000'000;
// Without an agent a client mints at most this often for a limit.
inline constexpr std::int64_t kSelfMintNs = 250'000;
// A limit that is leased may get its tokens within two round trips of the agent, whatever its lease
// says now: the guess where nothing better is known.
inline constexpr std::uint64_t kLeaseGuessNs = 20'000'000;
inline constexpr std::uint64_t kNoHot = ~0ULL;  // an expected word that no slot ever has
inline constexpr std::size_t kHeadCpus = 256;   // further CPUs are served by the library alone

// One pair of segments that a client has seen: the agent's, or plain memory of this process.
struct Attachment {
  shm::RulesView rules;
  shm::CountersView counters;
  shm::ToolkitView toolkit;    // empty where the agent has none
  shm::QuotaView quotas;       // likewise
  std::int64_t offset_ns = 0;  // this process's clock minus the agent's frame
  std::uint64_t counters_id = 0;
  bool is_private = false;
  shm::Mapping rules_map;
  shm::Mapping counters_map;

  std::int64_t now_ns() const noexcept { return shm::read_mono_ns() - offset_ns; }
  bool agent_alive(std::int64_t now_host_ns) const noexcept {
    const auto& h = rules.header();
    return now_host_ns - h.heartbeat_mono_ns.load(std::memory_order_relaxed) <=
           static_cast<std::int64_t>(h.stale_after_ns.load(std::memory_order_relaxed));
  }
};

// A bucket of this process's own, for while no agent knows the limit: the same segments, the same
// code, one slot, in plain memory, and a heartbeat that never beats.
struct PrivateBucket {
  std::unique_ptr<std::byte[]> rules_memory;
  std::unique_ptr<std::byte[]> counters_memory;
  Attachment attachment;
};

enum class Link : std::uint32_t { idle, hello_sent, attached };

// What each class leaves to those above it, as of one publication of the rules to one binding of
// the handle. Whoever finds it old writes it, unless somebody does so already; a reader that meets
// the writer copies the rule for itself.
class ReserveCache {
 public:
  struct Key {
    std::uint64_t table_flip;
    std::uint64_t bindings;
  };
  bool read(const Key& key, std::int32_t priority_class, std::uint64_t& reserve) const noexcept;
  void write(const Key& key, const std::uint64_t (&reserves)[shm::kClasses]) noexcept;

 private:
  std::atomic<std::uint64_t> sequence_{0};  // odd: being written; 0: never
  std::atomic<std::uint64_t> table_flip_{0};
  std::atomic<std::uint64_t> bindings_{0};
  std::array<std::atomic<std::uint64_t>, shm::kClasses> reserves_{};
};

}  // namespace weir::client

// Begins as weir.h's weir_limit_head says, for the calls that are compiled into programs.
struct weir_limit {
  // Read on every call; written only when the limit moves. expected is written last.
  alignas(64) std::atomic<std::uint64_t> expected{weir::client::kNoHot};
  std::atomic<const weir::shm::A64*> hot{nullptr};
  std::atomic<weir::shm::CounterSlot*> slot{nullptr};
  std::atomic<weir::shm::StripeCell*> stripes{nullptr};
  std::atomic<std::uint32_t> stripe_cpus{0};  // 0 without restartable sequences
  std::uint32_t form = 1;
  // A heartbeat under which one token could not be had: while it is the agent's last one, nothing
  // was minted, and a refusal has only to be counted. 0: none. See license_refusals().
  std::atomic<std::uint64_t> dry_beat{0};
  std::atomic<const weir::shm::S64*> heartbeat{nullptr};
  std::array<std::uint64_t, 9> reserved{};
  // By CPU. Only pointers: a call that meets a handle on the move counts on the old or the new
  // lane, never between them. Null without restartable sequences.
  std::array<std::atomic<weir::shm::A64*>, weir::client::kHeadCpus> lanes{};

  alignas(64) std::atomic<weir::shm::A64*> lane{nullptr};
  std::int32_t rseq_area = 0;
  std::atomic<std::uint32_t> stripe_count{0};
  std::atomic<std::uint32_t> lane_stride{0};
  std::atomic<std::uint32_t> lane_cpus{0};
  weir::client::ReserveCache reserves;

  alignas(64) weir_client* client = nullptr;
  // The further sets of lanes; none in segments of an older agent.
  std::atomic<weir::shm::A64*> retried_lane{nullptr};
  std::atomic<weir::shm::A64*> extra_lane{nullptr};
  std::atomic<const weir::client::Attachment*> attachment{nullptr};
  std::atomic<std::uint32_t> index{0};
  std::atomic<std::uint64_t> bindings{0};   // how often the handle was pointed at a bucket
  std::atomic<std::uint64_t> seen_flip{0};  // of the table that the name was last looked up in
  std::int32_t mode = WEIR_MODE_OPEN;       // while no agent knows the limit
  std::array<char, weir::shm::kNameBytesMax + 1> name{};
  weir::client::PrivateBucket own;
  std::atomic<weir_limit*> next{nullptr};
};

struct weir_client {
  // Held by whoever connects, receives or moves limits; nobody ever waits for it on a hot path.
  std::atomic<bool> busy{false};
  std::atomic<weir::client::Link> link{weir::client::Link::idle};
  std::atomic<const weir::client::Attachment*> current{nullptr};
  std::atomic<int> fd{-1};
  std::atomic<std::int32_t> state{WEIR_E_NO_AGENT};
  std::atomic<std::int64_t> next_attempt_ns{0};
  std::atomic<weir_limit*> limits{nullptr};
  std::atomic<std::uint32_t> limits_count{0};

  // The waiter cells that the agent gave to this connection.
  std::atomic<std::uint32_t> first_waiter{0};
  std::atomic<std::uint32_t> waiters{0};
  std::atomic<std::uint32_t> waiters_used{0};
  std::atomic<std::uint32_t> wait_sequence{1};

  // Of the toolkit: see toolkit.h.
  std::atomic<weir_resource*> resources{nullptr};
  std::atomic<weir_feature*> features{nullptr};
  std::atomic<weir_quota*> quotas{nullptr};
  std::uint64_t process_counters_id = 0;  // under busy: in which counters the slot was taken
  std::int32_t process_slot = -1;         // under busy
  std::uint64_t process_owner = 0;        // under busy

  std::uint32_t attachments_used = 0;  // under busy
  std::array<weir::client::Attachment, weir::client::kAttachmentsMax> attachments;

  std::array<char, 108> socket_path{};  // as in sockaddr_un
  std::array<char, 24> label{};
  std::uint32_t agent_uid = 0;  // of the user weir, or 0
  std::int64_t timens_offset_ns = 0;
  std::uint32_t holder = 2;
  weir_client* next_client = nullptr;  // for the fork handler, under its lock
};

namespace weir::client {

// The head's layout belongs to the symbol version WEIR_HEAD_1: another layout needs another one.
#define WEIR_PIN_HEAD(ours, offset) \
  static_assert(sizeof(void*) != 8 || offsetof(weir_limit, ours) == (offset))
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winvalid-offsetof"
#endif
WEIR_PIN_HEAD(expected, 0);
WEIR_PIN_HEAD(hot, 8);
WEIR_PIN_HEAD(slot, 16);
WEIR_PIN_HEAD(stripes, 24);
WEIR_PIN_HEAD(stripe_cpus, 32);
WEIR_PIN_HEAD(form, 36);
WEIR_PIN_HEAD(dry_beat, 40);
WEIR_PIN_HEAD(heartbeat, 48);
WEIR_PIN_HEAD(lanes, 128);
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif
#undef WEIR_PIN_HEAD

// attach.cpp. One step of connecting, without ever blocking; takes `busy` or does nothing.
void maintain(weir_client& client, std::int64_t now_own_ns) noexcept;
weir_status attach_within(weir_client& client, std::uint32_t timeout_ms) noexcept;
void drop_link(weir_client& client) noexcept;
void send_frame(weir_client& client, shm::FrameType type, std::uint32_t first,
                std::uint32_t count) noexcept;
bool try_send_frame(weir_client& client, shm::FrameType type, std::uint32_t first,
                    std::uint32_t count) noexcept;

// resolve.cpp. Under `busy`: looks the limit up and points it at the right bucket.
void resolve(weir_limit& limit) noexcept;
void resolve_all(weir_client& client) noexcept;
bool make_private(weir_limit& limit, const weir_limit_options* options) noexcept;

// How a refusal counts. A host's demand is what it spends and what it refuses the first time.
enum class Attempt : std::uint32_t {
  first,
  retry,   // the caller says that it was refused before
  silent,  // a call that waits looks again; it is counted once elsewhere
};

// refuse.cpp. What a refused call does beyond being refused.
weir_status refused(weir_limit& limit, std::uint64_t n, std::uint64_t reserve,
                    Attempt attempt) noexcept;
// The same for a refusal that is counted: one in 256 of those that a call in the program answers.
weir_status refused_counted(weir_limit& limit) noexcept;
void count_refusal(weir_limit& limit, std::uint64_t n, Attempt attempt) noexcept;
weir_status acquire_slow(weir_limit& limit, std::uint64_t n, std::int32_t priority_class,
                         Attempt attempt) noexcept;

// estimate.cpp
bool rule_now(const weir_limit& limit, shm::RuleCopy& copy) noexcept;
std::uint64_t level_of(const weir_limit& limit) noexcept;
weir_status estimate_wait(const weir_limit& limit, std::uint64_t n, std::int32_t priority_class,
                          std::uint64_t& wait_ns) noexcept;

// Calls must not disturb the caller's errno: any of them may run in a signal handler.
class KeepErrno {
 public:
  KeepErrno() noexcept = default;
  ~KeepErrno() { errno = kept_; }
  KeepErrno(const KeepErrno&) = delete;
  KeepErrno& operator=(const KeepErrno&) = delete;

 private:
  int kept_ = errno;
};

// A try-lock: whoever does not get it goes on without.
class Busy {
 public:
  explicit Busy(weir_client& client) noexcept
      : client_(client), mine_(!client.busy.exchange(true, std::memory_order_acquire)) {}
  ~Busy() {
    if (mine_) client_.busy.store(false, std::memory_order_release);
  }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;
  explicit operator bool() const noexcept { return mine_; }

 private:
  weir_client& client_;
  bool mine_;
};

}  // namespace weir::client
