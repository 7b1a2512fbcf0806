#include "agent/cli/resources.h"

#include <algorithm>
#include <cmath>

namespace weir::cli {

namespace {

constexpr double kVisibleShare = 0.0005;

net::Result<v1::ResourcesResponse> resources_of(net::Result<v1::AdminResponse> answer) {
  if (!answer) {
    // An agent of version 0.1 says that it does not know the request.
    if (answer.error().kind == net::Failure::refused &&
        answer.error().text.find("does not know the request") != std::string::npos)
      return v1::ResourcesResponse{};
    return answer.error();
  }
  v1::ResourcesResponse found = std::move(*answer->mutable_resources());
  std::sort(found.mutable_resources()->begin(), found.mutable_resources()->end(),
            [](const auto& a, const auto& b) {
              return a.domain() != b.domain() ? a.domain() < b.domain() : a.name() < b.name();
            });
  return found;
}

v1::AdminRequest resource_request(const std::string& domain, const std::string& name) {
  v1::AdminRequest request;
  request.mutable_resources()->set_domain(domain);
  request.mutable_resources()->set_name(name);
  return request;
}

template <class Optional>
Json or_null(bool known, Optional value) {
  return known ? Json(value) : Json(nullptr);
}

}  // namespace

net::Result<v1::ResourcesResponse> fetch_resources(net::AdminClient& client,
                                                   const std::string& domain,
                                                   const std::string& name) {
  return resources_of(client.call(resource_request(domain, name)));
}

net::Result<v1::ResourcesResponse> fetch_resources(const Context& context,
                                                   const std::string& domain,
                                                   const std::string& name) {
  return resources_of(context.ask(resource_request(domain, name)));
}

std::string share_text(double share) {
  if (!std::isfinite(share)) return "0 %";
  return format_permille(static_cast<std::uint32_t>(std::clamp(share, 0.0, 1.0) * 1000.0 + 0.5));
}

std::string shown_name(const Context& context, const std::string& domain, const std::string& name) {
  if (domain == "default") return context.escaped(name);
  return context.escaped(name) + " (" + context.escaped(domain) + ")";
}

std::string in_flight_text(const v1::ResourceStatus& resource) {
  const std::string now = format_count(resource.in_flight());
  return resource.concurrency() == 0 ? now : now + "/" + format_count(resource.concurrency());
}

std::string shed_text(const v1::ResourceStatus& resource) {
  if (resource.shed().empty() || resource.shed() == "off") return "-";
  if (resource.shed_share() >= kVisibleShare) return share_text(resource.shed_share());
  return resource.blind() ? "blind" : "no";
}

std::string breaker_text(const Context& context, const v1::ResourceStatus& resource) {
  if (resource.breaker() == "adaptive")
    return resource.throttle_share() >= kVisibleShare
               ? "refuses " + share_text(resource.throttle_share())
               : "passes";
  if (resource.breaker().empty() || resource.breaker() == "off") return "-";
  std::string text = context.escaped(resource.breaker_state());
  std::replace(text.begin(), text.end(), '_', ' ');
  return text;
}

Style breaker_style(const v1::ResourceStatus& resource) {
  const std::string& state = resource.breaker_state();
  if (state == "open" || state == "forced_open") return Style::bad;
  if (state == "probing" || state == "forced_closed") return Style::warn;
  return resource.throttle_share() >= kVisibleShare ? Style::warn : Style::plain;
}

std::string response_text(const v1::ResourceStatus& resource) {
  return resource.response_ns() == 0 ? "-" : format_duration(resource.response_ns());
}

void print_resources(const Context& context, const v1::ResourcesResponse& resources) {
  Table table{{{"RESOURCE"},
               {"IN FLIGHT", Align::right},
               {"ASKED/S", Align::right},
               {"FAILED/S", Align::right},
               {"REFUSED/S", Align::right},
               {"RESPONSE", Align::right},
               {"SHEDS", Align::right},
               {"BREAKER"},
               {"RETRIES", Align::right}}};
  for (const auto& each : resources.resources()) {
    const bool full = each.concurrency() != 0 && each.in_flight() >= each.concurrency();
    const auto bad_above_none = [](double per_s) {
      return Cell{format_per_s(per_s), per_s >= 0.005 ? Style::bad : Style::plain};
    };
    table.add({shown_name(context, each.domain(), each.name()),
               Cell{in_flight_text(each), full ? Style::bad : Style::plain},
               format_per_s(each.asked_per_s()), bad_above_none(each.failed_per_s()),
               bad_above_none(each.refused_per_s()), response_text(each),
               Cell{shed_text(each), each.shed_share() >= kVisibleShare ? Style::bad
                                     : each.blind()                     ? Style::warn
                                                                        : Style::plain},
               Cell{breaker_text(context, each), breaker_style(each)},
               each.retry_budget() ? format_count(each.retries_left()) : std::string("-")});
  }
  table.print(context);
}

Json to_json(const v1::LoadStatus& load) {
  return {{"cpu_utilization", or_null(load.has_cpu_utilization(), load.cpu_utilization())},
          {"in_flight", load.in_flight()},
          {"limit", or_null(load.has_limit(), load.limit())},
          {"requests_per_s", load.requests_per_s()},
          {"errors_per_s", load.errors_per_s()},
          {"shed_share", load.shed_share()},
          {"utilization", or_null(load.has_utilization(), load.utilization())}};
}

namespace {

Json share_json(const v1::ResourceStatus& r) {
  if (!r.has_share()) return nullptr;
  const v1::PermitShare& share = r.share();
  return {{"max", share.max()},        {"permits", share.permits()}, {"wanted", share.wanted()},
          {"hosts", share.hosts()},    {"leased", share.leased()},   {"fallback", share.fallback()},
          {"left_ms", share.left_ms()}};
}

}  // namespace

Json to_json(const v1::ResourceStatus& r) {
  Json classes = Json::array();
  for (const auto& each : r.classes())
    classes.push_back({{"name", each.name()},
                       {"room", each.room()},
                       {"asked_per_s", each.asked_per_s()},
                       {"shed_share", each.shed_share()},
                       {"shed_total", each.shed_total()}});
  const bool states = r.breaker() == "states";
  const Json breaker = {{"kind", r.breaker()},
                        {"state", or_null(states, r.breaker_state())},
                        {"reason", r.breaker_reason()},
                        {"since_ms", r.breaker_since_ms()},
                        {"due_ms", r.breaker_due_ms()},
                        {"forced_ms", r.breaker_forced_ms()},
                        {"opened_total", r.breaker_opened_total()},
                        {"throttle_share", r.throttle_share()}};
  return {{"domain", r.domain()},
          {"name", r.name()},
          {"description", r.description()},
          {"tenant_of", or_null(!r.tenant_of().empty(), r.tenant_of())},
          {"line", r.line()},
          {"in_flight", r.in_flight()},
          {"share", share_json(r)},
          {"concurrency", or_null(r.concurrency() != 0, r.concurrency())},
          {"lease_ms", or_null(r.lease_ms() != 0, r.lease_ms())},
          {"classes", std::move(classes)},
          {"shed", r.shed()},
          {"shedding", r.shedding()},
          {"blind", r.blind()},
          {"shed_limit", r.shed_limit()},
          {"shed_share", r.shed_share()},
          {"breaker", breaker},
          {"retries_left", or_null(r.retry_budget(), r.retries_left())},
          {"asked_per_s", r.asked_per_s()},
          {"succeeded_per_s", r.succeeded_per_s()},
          {"failed_per_s", r.failed_per_s()},
          {"refused_per_s", r.refused_per_s()},
          {"response_ns", or_null(r.response_ns() != 0, r.response_ns())},
          {"response_p50_ns", or_null(r.has_response_p50_ns(), r.response_p50_ns())},
          {"response_p95_ns", or_null(r.has_response_p95_ns(), r.response_p95_ns())},
          {"response_p99_ns", or_null(r.has_response_p99_ns(), r.response_p99_ns())},
          {"baseline_ns", or_null(r.baseline_ns() != 0, r.baseline_ns())},
          {"succeeded_total", r.succeeded_total()},
          {"failed_total", r.failed_total()},
          {"slow_total", r.slow_total()},
          {"full_total", r.full_total()},
          {"shed_total", r.shed_total()},
          {"broken_total", r.broken_total()},
          {"throttled_total", r.throttled_total()},
          {"reaped_total", r.reaped_total()},
          {"expired_total", r.expired_total()},
          {"forged_total", r.forged_total()},
          {"uncounted_total", r.uncounted_total()},
          {"deadline_default_ms", or_null(r.deadline_max_ms() != 0, r.deadline_default_ms())},
          {"deadline_max_ms", or_null(r.deadline_max_ms() != 0, r.deadline_max_ms())},
          {"load", to_json(r.load())}};
}

Json to_json(const v1::DegradeStatus& d) {
  Json levels = Json::array();
  for (const auto& level : d.levels()) {
    Json features = Json::array();
    for (const std::string& feature : level.features())
      features.push_back(feature);
    levels.push_back({{"enter", level.enter_text()},
                      {"leave", level.leave_text()},
                      {"features", std::move(features)}});
  }
  return {{"domain", d.domain()},
          {"name", d.name()},
          {"signal", d.signal()},
          {"resource", or_null(!d.resource().empty(), d.resource())},
          {"value", or_null(!d.value_text().empty(), d.value_text())},
          {"level", d.level()},
          {"levels", std::move(levels)},
          {"forced", d.forced()},
          {"forced_ms", d.forced_ms()},
          {"drill_level", d.drill_level()},
          {"drill_permille", d.drill_permille()},
          {"drill_forced", d.drill_forced()},
          {"drill_ms", d.drill_ms()},
          {"line", d.line()}};
}

Json resources_json(const v1::ResourcesResponse& resources) {
  Json array = Json::array();
  for (const auto& each : resources.resources())
    array.push_back(to_json(each));
  return array;
}

Json degrades_json(const v1::ResourcesResponse& resources) {
  Json array = Json::array();
  for (const auto& each : resources.degrades())
    array.push_back(to_json(each));
  return array;
}

}  // namespace weir::cli
