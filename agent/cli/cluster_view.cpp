#include "agent/cli/cluster_view.h"

#include <algorithm>

namespace weir::cli {

namespace {

constexpr int kPagesMax = 256;
constexpr double kMicro = 1e6;

net::Result<ClusterAnswer> collect(
    const std::function<net::Result<v1::AdminResponse>(const v1::AdminRequest&)>& ask,
    const std::string& path, v1::ClusterTopic topic, const std::string& limit) {
  ClusterAnswer all;
  v1::AdminRequest request;
  v1::ClusterQuery& query = *request.mutable_cluster();
  query.set_topic(topic);
  query.set_limit_name(limit);
  for (int page = 0; page < kPagesMax; ++page) {
    auto answer = ask(request);
    if (!answer) return answer.error();
    if (!answer->has_cluster()) return unexpected_answer(path);
    v1::ClusterReport& report = *answer->mutable_cluster();
    all.server = report.server();
    for (auto& each : *report.mutable_limits())
      all.limits.push_back(std::move(each));
    for (auto& each : *report.mutable_hosts())
      all.hosts.push_back(std::move(each));
    for (auto& each : *report.mutable_concurrency())
      all.concurrency.push_back(std::move(each));
    for (auto& each : *report.mutable_permit_hosts())
      all.permit_hosts.push_back(std::move(each));
    if (report.next_page_token().empty()) break;
    query.set_page_token(report.next_page_token());
  }
  return all;
}

const char* state_word(v1::HostState state) {
  switch (state) {
    case v1::HOST_STATE_LIVE:
      return "live";
    case v1::HOST_STATE_TAIL:
      return "tail";
    case v1::HOST_STATE_CLAIM:
      return "claim";
    default:
      return "unknown";
  }
}

Style state_style(v1::HostState state) {
  return state == v1::HOST_STATE_LIVE ? Style::plain : Style::warn;
}

}  // namespace

net::Result<ClusterAnswer> ask_cluster(const Context& context, v1::ClusterTopic topic,
                                       const std::string& limit) {
  return collect([&](const v1::AdminRequest& request) { return context.ask(request); },
                 context.paths.admin_socket, topic, limit);
}

net::Result<ClusterAnswer> ask_cluster(net::AdminClient& client, v1::ClusterTopic topic,
                                       const std::string& limit) {
  return collect([&](const v1::AdminRequest& request) { return client.call(request); },
                 client.path(), topic, limit);
}

std::string per_s_text(std::uint64_t micro_per_s) {
  return format_per_s(static_cast<double>(micro_per_s) / kMicro) + "/s";
}

std::string tokens_text(std::uint64_t micro) {
  return format_count(micro / static_cast<std::uint64_t>(kMicro));
}

void add_server(const Context& context, const v1::ServerReport& server, Facts& facts) {
  facts.add("Token server", context.escaped(server.name()) + ", weir " +
                                context.escaped(server.version()) + ", up " +
                                format_ms(server.uptime_ms()));
  facts.add("Namespace", context.escaped(server.namespace_name()) + ": " +
                             plural(server.limits(), "limit", "limits") + ", " +
                             plural(server.hosts(), "host", "hosts"));
  if (!server.owner())
    facts.add("Owner", {context.escaped(server.owner_name()) + ", not this server", Style::warn});
  if (server.learning_left_ms() != 0)
    facts.add("Learning", {"what hosts hold, for " + format_ms(server.learning_left_ms()) +
                               " at most; until then nobody gets more than it has",
                           Style::warn});
  facts.add("Leases", "of " + format_duration(server.ttl_ns()) + ", then a tail of " +
                          format_duration(server.tail_ns()) + "; hosts ask every " +
                          format_duration(server.refresh_ns()));
  facts.add("Requests", format_count(server.requests_per_s()) + "/s, " +
                            format_count(server.requests_total()) + " in total, " +
                            format_count(server.busy_total()) + " answered busy, " +
                            format_count(server.refused_total()) + " connections refused");
  facts.add("Connections", std::to_string(server.connections()));
  facts.add("Epoch", std::to_string(server.epoch()));
}

Table limits_table(const Context& context, const std::vector<v1::LimitReport>& limits) {
  Table table{{{"LIMIT"},
               {"RATE", Align::right},
               {"BURST", Align::right},
               {"WANTED", Align::right},
               {"LEASED", Align::right},
               {"SPENT/S", Align::right},
               {"REFUSED/S", Align::right},
               {"HOSTS", Align::right},
               {"TAILS", Align::right},
               {"SERVER", Align::right},
               {"PART OF"}}};
  for (const v1::LimitReport& limit : limits) {
    const bool short_of = limit.wanted_rate() > limit.rate();
    table.add({context.escaped(limit.name()),
               per_s_text(limit.rate()) + (limit.per_host() ? " per host" : ""),
               tokens_text(limit.burst()),
               {per_s_text(limit.wanted_rate()), short_of ? Style::warn : Style::plain},
               per_s_text(limit.leased_rate()),
               format_per_s(static_cast<double>(limit.spent_per_s()) / kMicro),
               {format_per_s(static_cast<double>(limit.refused_per_s()) / kMicro),
                limit.refused_per_s() >= 5000 ? Style::bad : Style::plain},
               std::to_string(limit.hosts()),
               {std::to_string(limit.hosts_in_tail()),
                limit.hosts_in_tail() != 0 ? Style::warn : Style::plain},
               tokens_text(limit.server_level()) + " of " + tokens_text(limit.server_burst()),
               limit.parent().empty() ? "-" : context.escaped(limit.parent())});
  }
  return table;
}

Table concurrency_table(const Context& context,
                        const std::vector<v1::ConcurrencyReport>& concurrency) {
  Table table{{{"CONCURRENCY"},
               {"MAX", Align::right},
               {"IN FLIGHT", Align::right},
               {"WANTED", Align::right},
               {"BOUND", Align::right},
               {"HOSTS", Align::right},
               {"LOST", Align::right}}};
  for (const v1::ConcurrencyReport& each : concurrency) {
    // Whom the server still waits for, where it does.
    const std::string hosts =
        std::to_string(each.hosts()) +
        (each.awaited() != 0 ? " (" + std::to_string(each.awaited()) + " silent)" : "");
    table.add(
        {context.escaped(each.name()) + (each.learning() ? " (learning)" : ""),
         format_count(each.max()),
         format_count(each.in_flight()),
         {format_count(each.wanted()), each.wanted() > each.max() ? Style::warn : Style::plain},
         {format_count(each.bound()), each.bound() > each.max() ? Style::warn : Style::plain},
         hosts,
         {std::to_string(each.lost_hosts()), each.lost_hosts() != 0 ? Style::warn : Style::plain}});
  }
  return table;
}

Table permit_hosts_table(const Context& context, const std::vector<v1::PermitHostReport>& hosts) {
  Table table{{{"HOST"},
               {"STATE"},
               {"PERMITS", Align::right},
               {"BOUND", Align::right},
               {"IN FLIGHT", Align::right},
               {"WANTS", Align::right},
               {"REPORTED", Align::right},
               {"VERSION"},
               {"ADDRESS"}}};
  for (const v1::PermitHostReport& host : hosts)
    table.add(
        {context.escaped(host.host()),
         {host.connected() ? "live" : "lost", host.connected() ? Style::plain : Style::warn},
         format_count(host.cap()),
         {format_count(host.bound()), host.bound() > host.cap() ? Style::warn : Style::plain},
         format_count(host.in_flight()),
         {format_count(host.wanted()), host.wanted() > host.cap() ? Style::warn : Style::plain},
         format_ago(host.report_age_ms()),
         context.escaped(host.version()),
         context.escaped(host.address())});
  return table;
}

Table hosts_table(const Context& context, const std::vector<v1::HostReport>& hosts, bool of_limit) {
  std::vector<Column> columns{{"HOST"}, {"STATE"}};
  if (of_limit)
    for (const char* title : {"WANTS", "SHARE", "BURST", "TAIL", "SPENT/S", "REFUSED/S", "SPENT"})
      columns.push_back({title, Align::right});
  columns.push_back({"HEARD", Align::right});
  columns.push_back({"SINCE", Align::right});
  columns.push_back({"VERSION"});
  columns.push_back({"ADDRESS"});
  Table table{columns};
  for (const v1::HostReport& host : hosts) {
    std::vector<Cell> row{context.escaped(host.host()),
                          {state_word(host.state()), state_style(host.state())}};
    if (of_limit) {
      row.emplace_back(per_s_text(host.wanted_rate()));
      row.emplace_back(per_s_text(host.leased_rate()));
      row.emplace_back(tokens_text(host.leased_burst()));
      row.emplace_back(per_s_text(host.tail_rate()));
      row.emplace_back(format_per_s(static_cast<double>(host.spent_per_s()) / kMicro));
      row.emplace_back(format_per_s(static_cast<double>(host.refused_per_s()) / kMicro),
                       host.refused_per_s() >= 5000 ? Style::bad : Style::plain);
      row.emplace_back(format_count(host.spent_total()));
    }
    row.emplace_back(format_ago(host.refresh_age_ms()));
    row.emplace_back(format_ms(host.since_ms()));
    row.emplace_back(context.escaped(host.version()));
    row.emplace_back(context.escaped(host.address()));
    table.add(std::move(row));
  }
  return table;
}

Json to_json(const v1::ServerReport& server) {
  return {{"name", server.name()},
          {"version", server.version()},
          {"epoch", std::to_string(server.epoch())},
          {"uptime_ms", server.uptime_ms()},
          {"learning_left_ms", server.learning_left_ms()},
          {"connections", server.connections()},
          {"requests_total", server.requests_total()},
          {"requests_per_s", server.requests_per_s()},
          {"busy_total", server.busy_total()},
          {"refused_total", server.refused_total()},
          {"namespace", server.namespace_name()},
          {"rules_version", std::to_string(server.rules_version())},
          {"hosts", server.hosts()},
          {"limits", server.limits()},
          {"refresh_ns", server.refresh_ns()},
          {"ttl_ns", server.ttl_ns()},
          {"tail_ns", server.tail_ns()},
          {"owner", server.owner()},
          {"owner_name", server.owner_name()}};
}

Json to_json(const v1::LimitReport& limit) {
  const auto tokens = [](std::uint64_t micro) { return static_cast<double>(micro) / kMicro; };
  return {{"name", limit.name()},
          {"rate_per_s", tokens(limit.rate())},
          {"burst", tokens(limit.burst())},
          {"hosts", limit.hosts()},
          {"wanted_per_s", tokens(limit.wanted_rate())},
          {"leased_per_s", tokens(limit.leased_rate())},
          {"leased_burst", tokens(limit.leased_burst())},
          {"spent_per_s", tokens(limit.spent_per_s())},
          {"refused_per_s", tokens(limit.refused_per_s())},
          {"spent_total", limit.spent_total()},
          {"refused_total", limit.refused_total()},
          {"server_level", tokens(limit.server_level())},
          {"server_burst", tokens(limit.server_burst())},
          {"hosts_in_tail", limit.hosts_in_tail()},
          {"per_host", limit.per_host()},
          {"parent", limit.parent()},
          {"band", limit.band()}};
}

Json to_json(const v1::HostReport& host) {
  const auto tokens = [](std::uint64_t micro) { return static_cast<double>(micro) / kMicro; };
  return {{"host", host.host()},
          {"address", host.address()},
          {"state", state_word(host.state())},
          {"session", std::to_string(host.session())},
          {"wanted_per_s", tokens(host.wanted_rate())},
          {"leased_per_s", tokens(host.leased_rate())},
          {"leased_burst", tokens(host.leased_burst())},
          {"tail_per_s", tokens(host.tail_rate())},
          {"spent_per_s", tokens(host.spent_per_s())},
          {"refused_per_s", tokens(host.refused_per_s())},
          {"spent_total", host.spent_total()},
          {"refused_total", host.refused_total()},
          {"since_ms", host.since_ms()},
          {"refresh_age_ms", host.refresh_age_ms()},
          {"version", host.version()}};
}

Json to_json(const v1::ConcurrencyReport& concurrency) {
  return {{"name", concurrency.name()},
          {"max", concurrency.max()},
          {"in_flight", concurrency.in_flight()},
          {"wanted", concurrency.wanted()},
          {"bound", concurrency.bound()},
          {"hosts", concurrency.hosts()},
          {"lost_hosts", concurrency.lost_hosts()},
          {"awaited_hosts", concurrency.awaited()},
          {"learning", concurrency.learning()}};
}

Json to_json(const v1::PermitHostReport& host) {
  return {{"host", host.host()},
          {"address", host.address()},
          {"state", host.connected() ? "live" : "lost"},
          {"permits", host.cap()},
          {"bound", host.bound()},
          {"in_flight", host.in_flight()},
          {"wanted", host.wanted()},
          {"report_age_ms", host.report_age_ms()},
          {"version", host.version()}};
}

}  // namespace weir::cli
