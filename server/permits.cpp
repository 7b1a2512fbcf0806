#include "server/permits.h"

#include <utility>

#include "server/wire_permit.h"

namespace weir::server {

namespace {

lease::PermitBookOptions book_options(const LeaseRule& lease) {
  lease::PermitBookOptions options;
  options.ttl_ns = static_cast<lease::TimeNs>(lease.ttl_ns + lease.tail_ns);
  return options;
}

}  // namespace

SpacePermits::SpacePermits(const LeaseRule& lease, FindSession find_session, lease::TimeNs now_ns)
    : find_session_(std::move(find_session)), book_(book_options(lease), now_ns) {}

void SpacePermits::set_rules(const std::vector<PermitLimit>& limits, lease::TimeNs now_ns) {
  std::vector<lease::PermitRule> rules;
  for (const PermitLimit& limit : limits)
    rules.push_back({limit.name, static_cast<lease::Permits>(limit.max)});
  book_.set_rules(rules, now_ns);
}

void SpacePermits::join(const Session& session, lease::TimeNs now_ns) {
  book_.join(session.identity, session.id, session.protocol_minor >= kPermitsMinor, now_ns);
}

void SpacePermits::leave(const Session& session, lease::TimeNs now_ns) {
  book_.leave(session.identity, session.id, now_ns);
}

bool SpacePermits::on_reports(Session& session, const v1::PermitReports& message,
                              lease::TimeNs now_ns) {
  if (!from_wire(message, report_) || !book_.report(session.identity, report_, now_ns, answer_))
    return false;
  to_wire(answer_, *message_.mutable_permit_grants());
  session.connection->send(message_);
  send_pushes();
  return true;
}

void SpacePermits::poll(bool learning, lease::TimeNs now_ns) {
  book_.set_learning(learning, now_ns);
  book_.poll(now_ns);
  send_pushes();
}

void SpacePermits::send_pushes() {
  book_.take_pushes(pushes_);
  for (const lease::PermitGrants& push : pushes_) {
    Session* session = find_session_(push.session);
    if (session == nullptr || !session->welcomed) continue;
    to_wire(push, *message_.mutable_permit_grants());
    session->connection->send(message_);
  }
}

}  // namespace weir::server
