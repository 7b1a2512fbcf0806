// The quotas of one namespace: its book, what keeps it, and the sessions that it answers.
//
// Whatever leaves here was durable before: the book holds answers back until the store has them,
// and this only carries them. Who asks is the session's identity, not what a message says.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lease/quota_book.h"
#include "rules/quota.h"
#include "rules/tz.h"
#include "server/session.h"
#include "server/status.h"
#include "server/store/keeper.h"
#include "server/store/store.h"
#include "weir/v1/lease.pb.h"

namespace weir::server {

// What all namespaces of a server share. Outlives them.
struct QuotaBackend {
  QuotaStore* store = nullptr;
  AuditLog* audit = nullptr;
  Post post;                               // runs a function on the server's thread, soon
  std::uint64_t audit_accepted_total = 0;  // rows that the audit log took from us
};

lease::QuotaConfig quota_config(const QuotaRule& rule);

class SpaceQuotas {
 public:
  using FindSession = std::function<Session*(lease::SessionId)>;
  using Done = std::function<void(const lease::QuotaResult&)>;

  SpaceQuotas(std::string name_space, QuotaBackend& backend, FindSession find_session,
              std::uint64_t epoch, lease::TimeNs now_ns);
  ~SpaceQuotas();  // what waits is answered 'busy'
  SpaceQuotas(const SpaceQuotas&) = delete;
  SpaceQuotas& operator=(const SpaceQuotas&) = delete;

  void set_rules(const std::vector<QuotaRule>& rules);
  void raise_epoch(std::uint64_t epoch) noexcept { epoch_ = std::max(epoch_, epoch); }
  // Nothing is granted any more; what is decided already is still told.
  void fence(lease::TimeNs now_ns) { book_->set_fence(now_ns); }

  // Of a welcomed session. `decide` is false when too much is asked: then all is 'busy'.
  void on_asks(Session& session, const v1::QuotaAsks& message, bool decide, lease::TimeNs now_ns);
  void on_usage(Session& session, const v1::QuotaUsage& message);
  void leave(const Session& session);
  void poll(lease::TimeNs now_ns);

  // `done` is called on this thread, perhaps before this returns, once.
  void change(lease::QuotaChange change, Done done);
  void read(const std::string& key, Done done);

  const QuotaRule* rule(std::string_view name) const;
  QuotaSpaceStatus status() const;

 private:
  struct Usage;

  void reply_to(const lease::QuotaReply& reply);
  void flush_soon();
  void flush();
  void send(lease::SessionId id, const v1::ToAgent& message);
  void start_keeper();
  std::int64_t edge_after(const lease::QuotaConfig& config, std::int64_t wall_ms);
  void offer_usage();
  void answer_usage();
  void tell_taken(const Usage& usage);

  std::string name_space_;
  QuotaBackend& backend_;
  FindSession find_session_;
  std::uint64_t epoch_;
  std::unique_ptr<lease::QuotaBook> book_;
  std::unique_ptr<BookKeeper> keeper_;
  bool keeper_ready_ = false;
  bool keeper_asked_ = false;
  lease::TimeNs keeper_retry_ns_ = 0;

  struct Rule {
    QuotaRule rule;
    lease::QuotaTerms terms;
  };
  std::map<std::string, Rule, std::less<>> rules_;
  std::map<std::string, std::shared_ptr<const TimeZone>, std::less<>> zones_;

  lease::Ticket tickets_ = 0;
  std::unordered_map<lease::Ticket, lease::SessionId> asked_;
  std::unordered_map<lease::Ticket, Done> calls_;
  std::unordered_map<lease::SessionId, v1::ToAgent> replies_;
  std::unordered_map<lease::SessionId, v1::ToAgent> pokes_;
  std::unordered_map<std::uint64_t, lease::SessionId> session_of_;  // by agent epoch
  std::unordered_map<std::uint64_t, Usage> usage_;                  // by agent epoch
  std::vector<std::uint64_t> usage_due_;  // whose batch is under way, the oldest first
  bool flush_due_ = false;
  std::uint64_t usage_rows_total_ = 0;
  std::uint64_t usage_repeated_total_ = 0;
  // Callbacks that come when this is gone find it expired.
  std::shared_ptr<SpaceQuotas*> self_;

  std::vector<lease::QuotaAsk> asks_;  // used again and again
};

}  // namespace weir::server
