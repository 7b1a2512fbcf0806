#include "agent/cli/json.h"

#include <ostream>

#include "agent/cli/cpu_figures.h"

namespace weir::cli {

Json to_json(const v1::StatusResponse& status) {
  Json domains = Json::array();
  for (const auto& domain : status.domains())
    domains.push_back(to_json(domain));
  return {{"version", status.version()},
          {"pid", status.pid()},
          // As text: it has 64 bits, and many readers keep 53.
          {"agent_epoch", std::to_string(status.agent_epoch())},
          {"uptime_ms", status.uptime_ms()},
          {"runtime_dir", status.runtime_dir()},
          {"rules_file", status.rules_file()},
          {"rules_loaded_ms_ago", status.rules_loaded_ms_ago()},
          {"rules_generation", status.rules_generation()},
          {"rules_error", status.rules_error()},
          {"tick_us", status.tick_us()},
          {"ticks_total", status.ticks_total()},
          {"ticks_late_total", status.ticks_late_total()},
          {"tick_p50_ns", status.tick_p50_ns()},
          {"tick_p99_ns", status.tick_p99_ns()},
          {"counters_adopted", status.counters_adopted()},
          {"http_address", status.http_address()},
          {"domains", std::move(domains)},
          {"cpu", to_json(status.cpu())},
          {"upstream", status.has_upstream() ? to_json(status.upstream()) : Json(nullptr)}};
}

Json to_json(const v1::DomainStatus& domain) {
  return {{"name", domain.name()},
          {"socket", domain.socket()},
          {"limits", domain.limits()},
          {"clients", domain.clients()},
          {"attached_total", domain.attached_total()},
          {"refused_total", domain.refused_total()},
          {"reaped_total", domain.reaped_total()},
          {"rules_bytes", domain.rules_bytes()},
          {"counters_bytes", domain.counters_bytes()},
          {"waiting", domain.waiting()},
          {"office_lost", domain.office_lost()}};
}

Json to_json(const v1::CpuStatus& cpu) {
  const CpuFigures figures{cpu};
  const auto figure = [](const auto& value) { return value ? Json(*value) : Json(nullptr); };
  return {{"source", cpu.source()},
          {"usage_permille", figure(figures.usage_permille)},
          {"smoothed_permille", figure(figures.smoothed_permille)},
          {"capacity_millicpus", figure(figures.capacity_millicpus)},
          {"throttled_permille", figure(figures.throttled_permille)},
          {"psi_some_avg10_centipercent", figure(figures.psi_some_avg10_centipercent)},
          {"host_usage_permille", figure(figures.host_usage_permille)},
          {"age_ms", figure(figures.age_ms)},
          {"blind_reason", cpu.blind_reason()}};
}

Json to_json(const v1::LimitStatus& limit) {
  Json reserve = Json::array();
  for (const std::uint64_t tokens : limit.reserve())
    reserve.push_back(tokens);
  return {{"domain", limit.domain()},
          {"name", limit.name()},
          {"description", limit.description()},
          {"algorithm", limit.algorithm()},
          {"amount", limit.amount()},
          {"period_ns", limit.period_ns()},
          {"burst", limit.burst()},
          {"rate_text", limit.rate_text()},
          {"calendar", limit.calendar()},
          {"timezone", limit.timezone()},
          {"striped", limit.striped()},
          {"fallback", limit.fallback()},
          {"fallback_text", limit.fallback_text()},
          {"level", limit.level()},
          {"minted_total", limit.minted_total()},
          {"spent_total", limit.spent_total()},
          {"refused_total", limit.refused_total()},
          {"spent_per_s", limit.spent_per_s()},
          {"refused_per_s", limit.refused_per_s()},
          {"waiting", limit.waiting()},
          {"owed", limit.owed()},
          {"forged_total", limit.forged_total()},
          {"lost_total", limit.lost_total()},
          {"reserve", std::move(reserve)},
          {"next_edge_ms", limit.next_edge_ms()},
          {"line", limit.line()},
          {"index", limit.index()},
          {"generation", limit.generation()},
          {"fallback_after_ms", limit.fallback_after_ms()},
          {"retried_total", limit.retried_total()},
          {"lease", limit.has_lease() ? to_json(limit.lease()) : Json(nullptr)}};
}

Json to_json(const v1::LeaseStatus& lease) {
  return {{"state", lease.state()},
          {"fallback_in_force", lease.fallback()},
          {"rate_per_s", lease.rate_per_s()},
          {"lease_burst", lease.burst()},
          {"tail_rate_per_s", lease.tail_rate_per_s()},
          {"tail_burst", lease.tail_burst()},
          {"left_ms", lease.left_ms()},
          {"tail_left_ms", lease.tail_left_ms()},
          {"since_ms", lease.since_ms()},
          {"hosts", lease.hosts()},
          {"want_per_s", lease.want_per_s()},
          {"granted_ever", lease.granted_ever()},
          {"per_host", lease.per_host()},
          {"in_force_per_s", lease.in_force_per_s()},
          {"in_force_burst", lease.in_force_burst()}};
}

Json to_json(const v1::UpstreamStatus& up) {
  Json conflicts = Json::array();
  for (const std::string& name : up.conflicts())
    conflicts.push_back(name);
  const auto heard = up.heard_ever() ? Json(up.heard_ms_ago()) : Json(nullptr);
  return {{"embedded", up.embedded()},
          {"address", up.address()},
          {"server_name", up.server_name()},
          {"server_version", up.server_version()},
          {"namespace", up.namespace_name()},
          {"host", up.host()},
          {"domain", up.domain()},
          {"link_state", up.link_state()},
          {"link_state_ms", up.link_state_ms()},
          {"connected", up.connected()},
          {"answering", up.answering()},
          {"learning", up.learning()},
          {"heard_ms_ago", heard},
          {"session", std::to_string(up.session())},
          {"epoch", std::to_string(up.epoch())},
          {"identity", std::to_string(up.identity())},
          {"last_error", up.last_error()},
          {"hosts", up.hosts()},
          {"limits", up.limits()},
          {"rules_version", std::to_string(up.rules_version())},
          {"conflicts", std::move(conflicts)},
          {"request_timeout_ms", up.request_timeout_ms()},
          {"ok_total", up.ok_total()},
          {"busy_total", up.busy_total()},
          {"timeout_total", up.timeout_total()},
          {"refused_total", up.refused_total()},
          {"retries_total", up.retries_total()},
          {"success_ratio", up.success_ratio()},
          {"round_trip_last_us", up.round_trip_last_us()},
          {"round_trip_p50_us", up.round_trip_p50_us()},
          {"round_trip_p99_us", up.round_trip_p99_us()},
          {"fallback_in_force", up.fallback()},
          {"fallback_ms", up.fallback_ms()},
          {"fallback_total_ms", up.fallback_total_ms()},
          {"fallback_starts_total", up.fallback_starts_total()},
          {"opens_total", up.opens_total()},
          {"open_failures_total", up.open_failures_total()},
          {"closes_total", up.closes_total()},
          {"bytes_in_total", up.bytes_in_total()},
          {"bytes_out_total", up.bytes_out_total()},
          {"withdrawn_total", up.withdrawn_total()},
          {"identities_total", up.identities_total()},
          {"clock_runaway_total", up.clock_runaway_total()}};
}

Json to_json(const v1::ClientStatus& client) {
  return {{"domain", client.domain()},
          {"pid", client.pid()},
          {"uid", client.uid()},
          {"gid", client.gid()},
          {"label", client.label()},
          {"command", client.command()},
          {"attached_ms", client.attached_ms()},
          {"waiting", client.waiting()},
          {"major", client.major()},
          {"minor", client.minor()},
          {"doorbells_total", client.doorbells_total()}};
}

Json to_json(const v1::ApplyResponse& answer) {
  const auto list = [](const auto& texts) {
    Json array = Json::array();
    for (const std::string& text : texts)
      array.push_back(text);
    return array;
  };
  return {{"applied", answer.applied()},
          {"problems", list(answer.problems())},
          {"warnings", list(answer.warnings())},
          {"changes", list(answer.changes())}};
}

void print_json(const Context& context, const Json& json) {
  constexpr int kIndent = 2;
  constexpr bool kAscii = true;
  context.out << json.dump(kIndent, ' ', kAscii, Json::error_handler_t::replace) << '\n';
}

}  // namespace weir::cli
