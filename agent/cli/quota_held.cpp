// weir quota held, and the same in weir show and weir status: what this host has of quotas.
#include <algorithm>

#include "agent/cli/quota.h"
#include "agent/cli/table.h"
#include "agent/cli/text.h"

namespace weir::cli {

namespace {

Style state_style(const std::string& state) {
  if (state == "ok" || state == "none") return Style::plain;
  return state == "unreachable" ? Style::bad : Style::warn;
}

Json totals_json(const v1::QuotasResponse& quotas) {
  return {{"available", quotas.available()},
          {"connected", quotas.connected()},
          {"keys", quotas.keys()},
          {"keys_max", quotas.keys_max()},
          {"asks_total", quotas.asks_total()},
          {"chunks_total", quotas.chunks_total()},
          {"granted_total", quotas.granted_total()},
          {"returned_total", quotas.returned_total()},
          {"refused_total", quotas.refused_total()},
          {"crowded_total", quotas.crowded_total()},
          {"forged_total", quotas.forged_total()},
          {"refunds_lost_total", quotas.refunds_lost_total()},
          {"audit",
           {{"rows", quotas.audit_rows()},
            {"rows_max", quotas.audit_rows_max()},
            {"taken_total", quotas.audit_taken_total()},
            {"dropped_total", quotas.audit_dropped_total()}}}};
}

}  // namespace

net::Result<v1::QuotasResponse> fetch_quotas(const Context& context, const std::string& quota,
                                             const std::string& key, std::uint32_t keys_max) {
  v1::AdminRequest request;
  request.mutable_quotas()->set_quota(quota);
  request.mutable_quotas()->set_key(key);
  request.mutable_quotas()->set_keys_max(keys_max);
  auto answer = context.ask(request);
  if (answer) return std::move(*answer->mutable_quotas());
  // An older agent does not know the question, and has no quotas.
  if (answer.error().kind == net::Failure::refused &&
      answer.error().text.find("does not know the request") != std::string::npos)
    return v1::QuotasResponse{};
  return answer.error();
}

Json to_json(const v1::QuotaKeyStatus& key) {
  return {{"quota", key.quota()},
          {"key", key.key()},
          {"state", key.state()},
          {"here", key.here()},
          {"per_s", key.per_s()},
          {"consumed_total", key.consumed_total()},
          {"remaining", key.remaining()},
          {"chunks", key.chunks()},
          {"waiting", key.waiting()},
          {"valid_ms", key.has_valid_ms() ? Json(key.valid_ms()) : Json(nullptr)}};
}

void print_quota_keys(const Context& context, const v1::QuotasResponse& quotas) {
  Table table{{{"QUOTA"},
               {"KEY"},
               {"STATE"},
               {"HERE", Align::right},
               {"TAKEN/S", Align::right},
               {"TAKEN", Align::right},
               {"AT SERVER", Align::right},
               {"VALID", Align::right}}};
  for (const v1::QuotaKeyStatus& each : quotas.list()) {
    std::string state = context.escaped(each.state());
    std::replace(state.begin(), state.end(), '_', ' ');
    table.add({context.escaped(each.quota()), context.escaped(each.key()),
               Cell{state + (each.waiting() ? ", asking" : ""), state_style(each.state())},
               format_count(each.here()), format_count(each.per_s()),
               format_count(each.consumed_total()), format_count(each.remaining()),
               each.has_valid_ms() ? format_ms(each.valid_ms()) : std::string("-")});
  }
  table.print(context);
  if (quotas.left_out() != 0)
    context.out << "and " << format_count(quotas.left_out()) << " more; --limit shows more\n";
}

int cmd_quota_held(const Context& context, const QuotaOptions& options) {
  const auto quotas = fetch_quotas(context, options.quota, options.key, options.limit);
  if (!quotas) return context.fail(quotas.error());
  if (context.json()) {
    Json body = totals_json(*quotas);
    body["list"] = Json::array();
    for (const v1::QuotaKeyStatus& each : quotas->list())
      body["list"].push_back(to_json(each));
    body["left_out"] = quotas->left_out();
    print_json(context, body);
    return kExitOk;
  }
  if (!quotas->available())
    return context.fail("this agent has no quotas: its rules name no token server");
  if (quotas->list().empty())
    context.out << "No key of a quota is in use on this host.\n";
  else
    print_quota_keys(context, *quotas);
  if (!quotas->connected())
    context.out << context.styled(Style::bad,
                                  "No token server with quotas answers; what is here can be taken.")
                << '\n';
  if (quotas->audit_rows() * 2 > quotas->audit_rows_max() || quotas->audit_dropped_total() != 0)
    context.out << "Audit rows: " << format_count(quotas->audit_rows()) << " of "
                << format_count(quotas->audit_rows_max()) << " wait for the server, "
                << format_count(quotas->audit_dropped_total()) << " were dropped.\n";
  return kExitOk;
}

}  // namespace weir::cli
