// What the API says of things, as JSON. Numbers of 64 random bits travel as text.
#include "server/api/parts.h"

namespace weir::server::api {

namespace {

double tokens(lease::Micro amount) noexcept {
  return static_cast<double>(amount) / static_cast<double>(lease::kToken);
}

Json time_or_null(std::int64_t wall_ms) {
  return wall_ms == 0 ? Json(nullptr) : Json(format_time(wall_ms));
}

std::string_view to_text(lease::ChunkState state) noexcept {
  if (state == lease::ChunkState::open) return "open";
  return state == lease::ChunkState::lost ? "lost" : "written_back";
}

}  // namespace

Json to_json(const std::string& name_space, const std::string& key,
             const lease::QuotaRecord& record) {
  const auto [quota, own] = lease::split_quota_key(key);
  const lease::QuotaConfig& config = record.config;
  const bool counted = config.type != lease::QuotaType::time;
  Json json{{"namespace", name_space},
            {"quota", quota},
            {"key", own},
            {"type", lease::to_text(config.type)},
            {"state", lease::to_text(record.state)},
            {"total", counted ? Json(record.total) : Json(nullptr)},
            {"remaining", counted ? Json(record.remaining) : Json(nullptr)},
            {"consumed", record.consumed},
            {"held", record.held()},
            {"lost", record.lost},
            {"generation", record.gen},
            {"next_total", counted ? Json(config.total) : Json(nullptr)},
            {"period", lease::to_text(config.period)},
            {"timezone", config.zone.empty() ? "UTC" : config.zone},
            {"period_end", time_or_null(record.period_end_wall_ms)},
            {"valid_until", time_or_null(config.valid_until_wall_ms)},
            {"rate_per_min", config.rate_per_min},
            {"rate_burst", config.rate_burst},
            {"last_synced", time_or_null(record.synced_wall_ms)},
            {"version", record.version}};
  return json;
}

Json to_json(const lease::QuotaHolding& holding) {
  Json chunks = Json::array();
  for (const lease::Chunk& chunk : holding.chunks)
    chunks.push_back(Json{{"seq", std::to_string(chunk.seq)},
                          {"generation", chunk.gen},
                          {"granted", chunk.granted},
                          {"spent", chunk.spent},
                          {"state", to_text(chunk.state)}});
  return Json{{"host", holding.host},         {"agent_epoch", std::to_string(holding.agent_epoch)},
              {"generation", holding.gen},    {"consumed", holding.consumed},
              {"refunded", holding.refunded}, {"chunks", std::move(chunks)}};
}

Json to_json(const AuditRow& row) {
  const auto [quota, key] = lease::split_quota_key(row.key);
  const lease::QuotaEvent& event = row.event;
  return Json{{"id", row.id},
              {"at", format_time(event.at_wall_ms)},
              {"namespace", row.name_space},
              {"quota", quota},
              {"key", key},
              {"action", lease::to_text(event.action)},
              {"who", event.host},
              {"process", event.process},
              {"uid", event.uid == UINT32_MAX ? Json(nullptr) : Json(event.uid)},
              {"amount", event.amount},
              {"left", event.left},
              {"outcome", event.outcome}};
}

Json to_json(const LimitStatus& limit) {
  const lease::Book::LimitReport& report = limit.report;
  return Json{{"name", report.name},
              {"rate_per_s", tokens(report.rate)},
              {"burst", tokens(report.burst)},
              {"per_host", limit.per_host},
              {"parent", limit.parent.empty() ? Json(nullptr) : Json(limit.parent)},
              {"hosts", report.hosts},
              {"wanted_per_s", tokens(report.want_total)},
              {"leased_per_s", tokens(report.leased_rate)},
              {"spent_per_s", tokens(limit.spent_per_s)},
              {"refused_per_s", tokens(limit.refused_per_s)},
              {"spent_total", report.spent_total},
              {"refused_total", report.refused_total}};
}

Json to_json(const lease::PermitStatus& concurrency) {
  return Json{{"name", concurrency.name},
              {"max", concurrency.max},
              {"in_flight", concurrency.in_flight},
              {"wanted", concurrency.wanted},
              {"bound", concurrency.bound},
              {"hosts", concurrency.hosts},
              {"lost_hosts", concurrency.lost_hosts},
              {"awaited_hosts", concurrency.awaited},
              {"learning", concurrency.learning}};
}

Json to_json(const HostStatus& host) {
  return Json{{"host", host.host},
              {"address", host.address},
              {"version", host.version},
              {"agent_epoch", std::to_string(host.agent_epoch)},
              {"connected_ms", host.since_ms},
              {"heard_ago_ms", host.heard_ago_ms}};
}

Json to_json(const SpaceStatus& space) {
  Json json{{"name", space.name},
            {"owner", space.owner},
            {"learning", space.learning},
            {"hosts", space.hosts},
            {"connections", space.sessions},
            {"limits", space.limit_count},
            {"requests_per_s", space.requests_per_s},
            {"quotas", nullptr}};
  if (!space.quotas) return json;
  const lease::QuotaBookStats& book = space.quotas->book;
  json["quotas"] = Json{{"configured", space.quotas->rules},
                        {"keys_in_memory", book.keys},
                        {"waiting", book.waiting},
                        {"asks_total", book.asks_total},
                        {"grants_total", book.granted_total},
                        {"lost_units_total", book.lost_units_total},
                        {"forgotten_chunks_total", book.forgotten_total},
                        {"usage_rows_total", space.quotas->usage_rows_total}};
  return json;
}

Json to_json(const CleanStats& stats) {
  return Json{{"on", stats.on},
              {"running", stats.running},
              {"last_run", time_or_null(stats.last_run_wall_ms)},
              {"next_run", time_or_null(stats.next_run_wall_ms)},
              {"removed_last", stats.removed_last},
              {"removed_total", stats.removed_total},
              {"last_error", stats.last_error}};
}

Json to_json(const ServerStatus& status) {
  Json json{{"name", status.name},
            {"version", status.version},
            {"epoch", std::to_string(status.epoch)},
            {"uptime_ms", status.uptime_ms},
            {"connections", status.connections},
            {"reload_error", status.reload_error},
            {"store", nullptr},
            {"audit", nullptr},
            {"retention", nullptr},
            {"namespaces", Json::array()}};
  if (status.quota_store) {
    const StoreStats& store = *status.quota_store;
    json["store"] = Json{{"durability", store.durability},
                         {"degraded", store.degraded},
                         {"last_error", store.last_error},
                         {"waiting", store.waiting},
                         {"commits_total", store.commits_total},
                         {"transactions_total", store.transactions_total},
                         {"conflicts_total", store.conflicts_total},
                         {"failures_total", store.failures_total},
                         {"commit_us", store.commit_us}};
  }
  if (status.audit) {
    const AuditStats& audit = *status.audit;
    json["audit"] = Json{{"queued", audit.queued},
                         {"capacity", audit.capacity},
                         {"written_total", audit.written_total},
                         {"refused_total", audit.refused_total},
                         {"dropped_total", audit.dropped_total},
                         {"lag_ms", audit.lag_ms}};
  }
  if (status.clean) json["retention"] = to_json(*status.clean);
  for (const SpaceStatus& space : status.spaces)
    json["namespaces"].push_back(to_json(space));
  return json;
}

}  // namespace weir::server::api
