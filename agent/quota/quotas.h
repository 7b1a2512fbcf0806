// The quotas of this host: the desk that asks for chunks, the slots in which processes find their
// units, and the talk with the server. It knows neither sockets nor threads.
//
// The order is that of the desk: what has ended is withdrawn, what is in the words is looked at,
// orders are put in force and kept, and only then anything is said.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/quota/door.h"
#include "agent/quota/table.h"
#include "agent/quota/usage.h"
#include "lease/quota_desk.h"
#include "weir/v1/lease.pb.h"

namespace weir::agent {

inline constexpr std::uint32_t kQuotaKeysDefault = 4096;
inline constexpr std::int64_t kQuotaLookNs = 5'000'000;
inline constexpr std::uint32_t kQuotaCalmTurns = 20;  // quiet keys are looked at so rarely
inline constexpr std::int64_t kQuotaIdleNs = 60'000'000'000;
// A key that has nothing to give, or that must make room.
inline constexpr std::int64_t kQuotaIdleRefusedNs = 5'000'000'000;
inline constexpr std::int64_t kQuotaIdleCrowdedNs = 500'000'000;
// Work that has not been reported for so long will not be.
inline constexpr std::int64_t kQuotaReportLateNs = 600'000'000'000;
inline constexpr std::int64_t kQuotaAuditNs = 1'000'000'000;
inline constexpr std::size_t kQuotaAsksMax = 512;  // in one message
inline constexpr std::size_t kQuotaLateRefundsMax = 10'000;

class QuotaSpeaker {
 public:
  virtual ~QuotaSpeaker() = default;
  virtual void say(v1::QuotaAsks& asks) = 0;
  virtual void say(v1::QuotaUsage& usage) = 0;
};

struct QuotasOptions {
  std::string host;
  std::uint64_t agent_epoch = 0;
  std::uint64_t seed = 1;
  lease::QuotaDeskMutants mutants;  // of tests
};

struct QuotaClocks {
  std::function<std::int64_t()> boot_ns;  // chunks are judged by it
  std::function<std::int64_t()> mono_ns;  // what processes see
  std::function<std::int64_t()> wall_ms;  // of rows that people read
};

struct QuotaCounts {
  std::uint64_t asks_total = 0;    // of processes, for units that were not there
  std::uint64_t grants_total = 0;  // chunks
  std::uint64_t granted_units = 0;
  std::uint64_t returned_units = 0;      // taken out of words again
  std::uint64_t refused_total = 0;       // answers without units
  std::uint64_t crowded_total = 0;       // asks for which there was no slot
  std::uint64_t bad_total = 0;           // asks whose texts are none
  std::uint64_t refunds_lost_total = 0;  // of keys without a slot, and too many waited for one
};

struct QuotaKeyView {
  std::string name, key;
  lease::QuotaDeskView desk;
  std::uint64_t consumed = 0;
};

class Quotas final : public QuotaDoor {
 public:
  Quotas(QuotasOptions options, QuotaClocks clocks, QuotaSpeaker& speaker, const QuotaPlace& place);

  // Before the domain mints.
  void tick();
  // Somebody is at work with a key; so long the agent must not sleep.
  bool busy() const;
  std::int64_t due_in_ns() const;  // when tick() has something to do
  // Everything goes back, before a stop. It takes the server's answers: settled() says when all is
  // done that can be, ticks and what the server says are still to come in until then.
  void leave();
  bool settled() const { return session_ == 0 || (desk_.empty() && usage_.rows() == 0); }

  void on_ask(std::string_view name, std::string_view key, std::uint64_t units) override;
  void on_report(const QuotaCaller& caller, const shm::QuotaFrameTail& tail, std::string_view name,
                 std::string_view key, std::string_view reason) override;

  // From the connection. `agent_epoch` is that of the session.
  void on_welcome(std::uint64_t session, std::uint64_t agent_epoch);
  void on_closed();
  void on_replies(const v1::QuotaReplies& message);
  void on_pokes(const v1::QuotaPokes& message);
  void on_usage_taken(const v1::QuotaUsageTaken& message);

  // For people.
  const QuotaCounts& counts() const { return counts_; }
  const QuotaTable& table() const { return table_; }
  const UsageQueue& usage() const { return usage_; }
  bool connected() const { return session_ != 0; }
  std::vector<QuotaKeyView> keys() const;
  std::int64_t boot_ns() const { return clocks_.boot_ns(); }

 private:
  struct Key {
    std::int64_t used_ns = 0;
    std::int64_t audited_ns = 0;
    bool leaving = false;
    bool waited_for = false;  // somebody asked and may sleep
  };

  void look_all(std::int64_t now_ns);
  void look(std::uint32_t slot, std::int64_t now_ns);
  void apply(std::int64_t now_ns);
  void talk(std::int64_t now_ns);
  void drop(std::uint32_t slot, std::int64_t now_ns);
  void make_room(std::int64_t now_ns);
  void judge_idle(std::uint32_t slot, std::int64_t now_ns);
  // `last`: the slot goes, and what finds no room in the queue is lost and counted.
  void audit(std::uint32_t slot, std::int64_t now_ns, bool last = false);
  void audit_unreported(std::uint32_t slot, std::int64_t now_ns);
  bool put_consumed(std::uint32_t slot, std::uint64_t units, const char* outcome,
                    std::int64_t now_ns);
  bool put_refund(const std::string& joined, std::uint64_t units, std::int64_t now_ns);
  void answer(std::uint32_t slot, std::int64_t now_ns);
  std::uint64_t unreported(std::uint32_t slot);

  // Units of a key that had lost its slot, until it has one again.
  struct LateRefund {
    std::string joined;
    std::uint64_t units = 0;
  };

  QuotasOptions options_;
  QuotaClocks clocks_;
  QuotaSpeaker& speaker_;
  QuotaTable table_;
  UsageQueue usage_;
  lease::QuotaDesk desk_;
  std::vector<Key> keys_;
  std::deque<LateRefund> late_refunds_;
  std::uint64_t session_ = 0;
  bool left_ = false;
  std::int64_t next_look_ns_ = 0;
  std::int64_t busy_until_ns_ = 0;
  std::uint32_t turn_ = 0;
  QuotaCounts counts_;

  v1::QuotaAsks asks_message_;  // used again and again
  v1::QuotaUsage usage_message_;
  std::vector<lease::QuotaAsk> asks_;
  std::vector<lease::QuotaReply> replies_;
  std::vector<lease::QuotaPoke> pokes_;
  std::vector<std::uint32_t> slots_;
};

}  // namespace weir::agent
