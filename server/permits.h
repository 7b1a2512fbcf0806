// The cluster-wide concurrency limits of one namespace: its book, and the sessions it answers.
#pragma once

#include <functional>
#include <vector>

#include "lease/permit_book.h"
#include "rules/cluster.h"
#include "server/session.h"
#include "weir/v1/lease.pb.h"

namespace weir::server {

inline constexpr std::uint32_t kPermitsMinor = 2;  // of the protocol that knows of permits

class SpacePermits {
 public:
  using FindSession = std::function<Session*(lease::SessionId)>;

  // A cap lasts as long as a lease and its tail: for so long a server that starts learns.
  SpacePermits(const LeaseRule& lease, FindSession find_session, lease::TimeNs now_ns);

  void set_rules(const std::vector<PermitLimit>& limits, lease::TimeNs now_ns);
  void join(const Session& session, lease::TimeNs now_ns);
  void leave(const Session& session, lease::TimeNs now_ns);
  // False: it is none of the session's, or an old one.
  bool on_reports(Session& session, const v1::PermitReports& message, lease::TimeNs now_ns);
  void poll(bool learning, lease::TimeNs now_ns);

  std::vector<lease::PermitStatus> status() const { return book_.status(); }
  std::vector<lease::PermitHostStatus> hosts_of(std::string_view name) const {
    return book_.hosts_of(name);
  }

 private:
  void send_pushes();

  FindSession find_session_;
  lease::PermitBook book_;

  // Used again and again.
  lease::PermitReport report_;
  lease::PermitGrants answer_;
  std::vector<lease::PermitGrants> pushes_;
  v1::ToAgent message_;
};

}  // namespace weir::server
