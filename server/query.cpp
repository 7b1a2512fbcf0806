// What operators ask: the server, its limits, the hosts of a limit.
#include <charconv>

#include "server/server_impl.h"

namespace weir::server {
namespace {

constexpr std::size_t kRowsDefault = 500;  // far below a frame's bound, whatever the names

std::uint64_t bits(std::int64_t value) noexcept {
  return value < 0 ? 0 : static_cast<std::uint64_t>(value);
}
std::uint64_t ms_since(lease::TimeNs then_ns, lease::TimeNs now_ns) noexcept {
  return bits((now_ns - then_ns) / lease::kMs);
}

// Which rows of `total` a query asks for; the token is the first row of the page.
struct Page {
  std::size_t first = 0;
  std::size_t end = 0;
  std::string next;
};
Page page_of(const v1::ClusterQuery& query, std::size_t total) {
  Page page;
  const std::string& token = query.page_token();
  std::from_chars(token.data(), token.data() + token.size(), page.first);
  page.first = std::min(page.first, total);
  const std::size_t most =
      query.rows_max() == 0 ? kRowsDefault : std::min<std::size_t>(query.rows_max(), kRowsDefault);
  page.end = std::min(total, page.first + most);
  if (page.end < total) page.next = std::to_string(page.end);
  return page;
}

void fill_limit(const LimitStatus& status, v1::LimitReport& out) {
  const lease::Book::LimitReport& limit = status.report;
  out.set_name(limit.name);
  out.set_limit(limit.id);
  out.set_rate(bits(limit.rate));
  out.set_burst(bits(limit.burst));
  out.set_hosts(limit.hosts);
  out.set_wanted_rate(bits(limit.want_total));
  out.set_leased_rate(bits(limit.leased_rate));
  out.set_leased_burst(bits(limit.leased_burst));
  out.set_spent_per_s(bits(status.spent_per_s));
  out.set_refused_per_s(bits(status.refused_per_s));
  out.set_spent_total(limit.spent_total);
  out.set_refused_total(limit.refused_total);
  out.set_server_level(bits(limit.server_level));
  out.set_server_burst(bits(limit.server_burst));
  out.set_per_host(status.per_host);
  out.set_parent(status.parent);
  out.set_band(status.band);
}

void fill_concurrency(const lease::PermitStatus& status, v1::ConcurrencyReport& out) {
  out.set_name(status.name);
  out.set_max(bits(status.max));
  out.set_in_flight(bits(status.in_flight));
  out.set_wanted(bits(status.wanted));
  out.set_bound(bits(status.bound));
  out.set_hosts(status.hosts);
  out.set_lost_hosts(status.lost_hosts);
  out.set_awaited(status.awaited);
  out.set_learning(status.learning);
}

void fill_session(const Session& session, lease::TimeNs now_ns, v1::HostReport& out) {
  out.set_address(session.connection->peer().address);
  out.set_session(session.id);
  out.set_version(session.version);
  out.set_since_ms(ms_since(session.since_boot_ns, now_ns));
  out.set_refresh_age_ms(ms_since(session.heard_boot_ns, now_ns));
}

void fill_limits(Space& space, const v1::ClusterQuery& query, lease::TimeNs now_ns,
                 v1::ClusterReport& report) {
  auto limits = space.book().limits(now_ns);
  const auto concurrency = space.permits().status();
  const Page page = page_of(query, limits.size() + concurrency.size());
  report.set_next_page_token(page.next);
  for (std::size_t i = page.first; i < page.end; ++i) {
    if (i < limits.size())
      fill_limit(space.limit_status(std::move(limits[i])), *report.add_limits());
    else
      fill_concurrency(concurrency[i - limits.size()], *report.add_concurrency());
  }
}

using Sessions = std::unordered_map<std::string_view, const Session*>;

void fill_host(const lease::Book::HostReport& host, const Sessions& sessions, lease::TimeNs now_ns,
               v1::HostReport& out) {
  out.set_host(host.host);
  out.set_state(host.live ? v1::HOST_STATE_LIVE : v1::HOST_STATE_TAIL);
  out.set_wanted_rate(bits(host.want));
  out.set_leased_rate(bits(host.held.rate));
  out.set_leased_burst(bits(host.held.burst));
  out.set_tail_rate(bits(host.held.tail_rate));
  out.set_spent_total(host.spent_total);
  out.set_refused_total(host.refused_total);
  out.set_refresh_age_ms(ms_since(host.heard_ns, now_ns));
  const auto session = sessions.find(host.host);
  if (session != sessions.end()) fill_session(*session->second, now_ns, out);
}

void fill_permit_host(const lease::PermitHostStatus& host, const Sessions& sessions,
                      lease::TimeNs now_ns, v1::PermitHostReport& out) {
  out.set_host(host.host);
  out.set_connected(host.connected);
  out.set_cap(bits(host.cap));
  out.set_bound(bits(host.bound));
  out.set_in_flight(bits(host.in_flight));
  out.set_wanted(bits(host.wanted));
  out.set_report_age_ms(ms_since(host.reported_ns, now_ns));
  // A lost host may have a namesake that is connected.
  const auto session = host.connected ? sessions.find(host.host) : sessions.end();
  if (session == sessions.end()) return;
  out.set_address(session->second->connection->peer().address);
  out.set_version(session->second->version);
}

// Of a limit, of a concurrency limit, or of both where they have one name.
void fill_hosts_of(const Space& space, const std::string& name, const v1::ClusterQuery& query,
                   lease::TimeNs now_ns, v1::ClusterReport& report) {
  Sessions sessions;
  for (const auto& [identity, session] : space.by_identity())
    sessions[identity.host] = session;
  const auto hosts = space.book().hosts_of(lease::limit_id(name));
  const auto permit_hosts = space.permits().hosts_of(name);
  const Page page = page_of(query, hosts.size() + permit_hosts.size());
  report.set_next_page_token(page.next);
  for (std::size_t i = page.first; i < page.end; ++i) {
    if (i < hosts.size())
      fill_host(hosts[i], sessions, now_ns, *report.add_hosts());
    else
      fill_permit_host(permit_hosts[i - hosts.size()], sessions, now_ns,
                       *report.add_permit_hosts());
  }
}

void fill_all_hosts(const Space& space, const v1::ClusterQuery& query, lease::TimeNs now_ns,
                    v1::ClusterReport& report) {
  const auto& sessions = space.by_identity();
  const Page page = page_of(query, sessions.size());
  report.set_next_page_token(page.next);
  std::size_t at = 0;
  for (const auto& [identity, session] : sessions) {
    if (at >= page.end) return;
    if (at++ < page.first) continue;
    v1::HostReport& out = *report.add_hosts();
    out.set_host(identity.host);
    out.set_state(v1::HOST_STATE_LIVE);
    fill_session(*session, now_ns, out);
  }
}

}  // namespace

void TokenServer::Impl::fill_server(const Space& space, v1::ServerReport& report) const {
  const SpaceStatus status = space.status(boot_now_ns(), false);
  report.set_name(options_.name);
  report.set_version(options_.version);
  report.set_epoch(status.epoch);
  report.set_uptime_ms(ms_since(started_boot_ns_, boot_now_ns()));
  report.set_learning_left_ms(status.learning_left_ms);
  report.set_connections(static_cast<std::uint32_t>(sessions_.size()));
  report.set_requests_total(status.counts.requests_total);
  report.set_busy_total(status.counts.busy_total);
  std::uint64_t refused = 0;
  for (const std::uint64_t each : refused_total_)
    refused += each;
  report.set_refused_total(refused);
  report.set_namespace_name(status.name);
  report.set_rules_version(status.rules_version);
  report.set_hosts(static_cast<std::uint32_t>(status.hosts));
  report.set_limits(static_cast<std::uint32_t>(space.rule().limits.size()));
  report.set_refresh_ns(bits(status.refresh_ns));
  report.set_ttl_ns(bits(status.ttl_ns));
  report.set_tail_ns(bits(status.tail_ns));
  report.set_owner(status.owner);
  report.set_requests_per_s(status.requests_per_s);
}

void TokenServer::Impl::on_query(Session& session, const v1::ClusterQuery& query) {
  const lease::TimeNs now_ns = boot_now_ns();
  Space& space = *session.space;
  v1::ToAgent message;
  v1::ClusterReport& report = *message.mutable_cluster_report();
  report.set_no(query.no());
  if (!space.admit(now_ns)) {
    report.set_error("the namespace has more requests a second than its guard lets through");
  } else if (!query.namespace_name().empty() && query.namespace_name() != space.name()) {
    report.set_error("this connection may ask for the namespace " + space.name() + " alone");
  } else {
    fill_server(space, *report.mutable_server());
    if (query.topic() == v1::CLUSTER_TOPIC_LIMITS) {
      fill_limits(space, query, now_ns, report);
    } else if (query.topic() == v1::CLUSTER_TOPIC_HOSTS && query.limit_name().empty()) {
      fill_all_hosts(space, query, now_ns, report);
    } else if (query.topic() == v1::CLUSTER_TOPIC_HOSTS) {
      fill_hosts_of(space, query.limit_name(), query, now_ns, report);
    }
  }
  session.connection->send(message);
}

}  // namespace weir::server
