// One namespace: its book, its sessions, its guard, its rules on their way to the agents.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "lease/book.h"
#include "rules/cluster.h"
#include "server/config.h"
#include "server/guard.h"
#include "server/permits.h"
#include "server/quotas.h"
#include "server/session.h"
#include "server/state_store.h"
#include "server/status.h"
#include "weir/v1/lease.pb.h"

namespace weir::server {

struct SpaceOptions {
  std::uint64_t epoch = 1;
  LeaseRule lease;
  std::array<unsigned char, 16> key{};
  KnownHosts known;
  lease::TimeNs reconnect_ns = 0;
  QuotaBackend* quotas = nullptr;  // none: no quotas are served
  // One of several servers: not ours until take_over(). What is kept of hosts in the state
  // directory is of use to the same server's next start alone, and the next owner is another one:
  // it learns for the full time, so that nothing is kept.
  bool elected = false;
};

class Space {
 public:
  Space(const NamespaceRule& rule, SpaceOptions options, StateStore& store, lease::TimeNs now_ns);
  Space(const Space&) = delete;
  Space& operator=(const Space&) = delete;

  const std::string& name() const noexcept { return rule_.name; }
  const NamespaceRule& rule() const noexcept { return rule_; }
  lease::Book& book() noexcept { return *book_; }
  const lease::Book& book() const noexcept { return *book_; }
  const SpacePermits& permits() const noexcept { return *permits_; }

  // Rules that were found good before. Connected agents get them in the next polls.
  void set_rule(const NamespaceRule& rule, lease::TimeNs now_ns);

  // Somebody else owns the namespace from now on, or nobody knows who (no address). Sessions are
  // sent there. An empty reason ends it: this server owns it again, and learns.
  void redirect(std::vector<std::string> addresses, std::string reason, lease::TimeNs now_ns);
  bool owner() const noexcept { return redirect_reason_.empty(); }
  std::string elsewhere() const;  // who has it, for people; empty: this server
  bool knows_owner() const noexcept { return owner() || !redirect_to_.empty(); }
  // An election made it ours. Nobody has ever owned it before: there is nothing to learn.
  void take_over(std::uint64_t epoch, bool never_met, lease::TimeNs until_ns, lease::TimeNs now_ns);
  void fence(lease::TimeNs until_ns);
  void resume(lease::TimeNs until_ns);  // ours again, as it was when it was redirected
  bool never_met() const noexcept { return never_met_; }
  // Somebody did own it before: what agents hold is learned after all.
  void forget_never_met(lease::TimeNs now_ns) {
    never_met_ = false;
    distrust_known(book_->epoch(), now_ns, true);
  }
  // Whether this host was sent to the present owner a moment ago and has come back: then it does
  // not answer, and whoever will own the namespace next is not known yet.
  bool came_back(const std::string& host, lease::TimeNs now_ns);
  void send_redirect(net::Connection& connection) const;

  // A host says hello. The session is filled and its welcome composed, to be sent by welcome()
  // when what must be stored is stored. False when there is no answer: the hello is an old one.
  enum class Greeted : std::uint8_t { yes, ignored, full };
  Greeted greet(Session& session, const lease::Hello& hello, lease::TimeNs now_ns);
  void welcome(Session& session, const std::string& server_name, const std::string& version);
  // The session's connection is gone, or is not its any more.
  void leave(Session& session);

  void on_request(Session& session, const v1::Request& message, lease::TimeNs now_ns);
  void on_ack(Session& session, const v1::Ack& message, lease::TimeNs now_ns);
  void on_goodbye(Session& session, const v1::Goodbye& message, lease::TimeNs now_ns);
  bool admit(lease::TimeNs now_ns) noexcept { return guard_.admit(now_ns); }

  void on_quota_asks(Session& session, const v1::QuotaAsks& message, lease::TimeNs now_ns);
  void on_quota_usage(Session& session, const v1::QuotaUsage& message, lease::TimeNs now_ns);
  void on_permit_reports(Session& session, const v1::PermitReports& message, lease::TimeNs now_ns);
  // Null without a store. Quotas need to be polled even where nobody is connected: periods end.
  SpaceQuotas* quotas() noexcept { return quotas_.get(); }
  // From now on, where there was no store before.
  void open_quotas(QuotaBackend& backend, lease::TimeNs now_ns);

  // About every Book::kPollNs, unless it is idle: nobody holds anything.
  void poll(lease::TimeNs now_ns);
  bool idle() const noexcept { return by_session_.empty() && book_->hosts() == 0 && !learning_; }
  // About once a second: rates for people.
  void sample(lease::TimeNs now_ns);

  void raise_epoch(std::uint64_t epoch) noexcept {
    book_->raise_epoch(epoch);
    if (quotas_) quotas_->raise_epoch(epoch);
  }
  // What is stored of this namespace is older than what agents have seen: nobody on that list may
  // end the learning early.
  bool distrust_known(std::uint64_t epoch, lease::TimeNs now_ns, bool even_when_sure);

  std::size_t sessions() const noexcept { return by_session_.size(); }
  const std::map<lease::Identity, Session*>& by_identity() const noexcept { return by_identity_; }
  void for_each_session(const std::function<void(Session&)>& visit);
  SpaceStatus status(lease::TimeNs now_ns, bool with_limits) const;
  LimitStatus limit_status(lease::Book::LimitReport report) const;

 private:
  void make_book(std::uint64_t epoch, lease::TimeNs now_ns);
  void set_limits(lease::TimeNs now_ns);
  void remember(const lease::Identity& identity, const lease::Book::Greeting& greeting);
  void forget(const std::vector<lease::Identity>& identities);
  void end_learning();
  void make_quotas(lease::TimeNs now_ns);
  const RulesPush& push(lease::TimeNs now_ns);
  void send_rules(Session& session, lease::TimeNs now_ns);
  void send_rules_slice(lease::TimeNs now_ns);

  NamespaceRule rule_;
  SpaceOptions options_;
  StateStore& store_;
  std::unique_ptr<lease::Book> book_;
  Guard guard_;
  bool learning_ = false;
  std::set<lease::Identity> heard_;  // while learning

  std::unordered_map<lease::SessionId, Session*> by_session_;
  std::map<lease::Identity, Session*> by_identity_;

  RulesPush push_;
  std::uint32_t push_hosts_ = 0;
  lease::TimeNs push_boot_ns_ = 0;
  std::deque<lease::SessionId> to_update_;
  std::vector<std::string> redirect_to_;
  std::string redirect_reason_;
  std::unordered_map<std::string, lease::TimeNs> sent_away_;  // hosts, to the present owner
  bool never_met_ = false;
  lease::TimeNs fence_ns_ = lease::kNever;  // for books that are made anew

  // Used again and again.
  lease::Request request_;
  lease::Book::Due due_;
  v1::ToAgent answer_message_;
  v1::ToAgent poke_message_;

  std::unique_ptr<SpaceQuotas> quotas_;
  std::unique_ptr<SpacePermits> permits_;  // as old as the book

  SpaceCounts counts_;
  struct Rate {
    std::uint64_t spent = 0, refused = 0;
    lease::Micro spent_per_s = 0, refused_per_s = 0;
  };
  std::unordered_map<lease::LimitId, Rate> rates_;
  std::unordered_map<std::string, const LimitRule*> rule_by_name_;
  lease::TimeNs sampled_boot_ns_ = 0;
  std::uint64_t sampled_requests_ = 0;
  std::uint64_t requests_per_s_ = 0;
};

}  // namespace weir::server
