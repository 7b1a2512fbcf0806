#include <array>
#include <ostream>
#include <string_view>

#include "agent/cli/json.h"
#include "agent/cli/quota.h"
#include "agent/cli/table.h"

namespace weir::cli {

namespace {

std::string text_of(const Json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end() || found->is_null()) return "-";
  return found->is_string() ? found->get<std::string>() : found->dump();
}

class Caller {
 public:
  Caller(const Context& context, const QuotaOptions& options, const Environment& environment)
      : context_(context) {
    const auto from = [&](const std::optional<std::string>& given, const char* variable,
                          std::string& value) {
      const char* set = environment(variable);
      if (given)
        value = *given;
      else if (set != nullptr && *set != '\0')
        value = set;
    };
    from(options.api, "WEIR_API", api_.address);
    from(options.api_ca, "WEIR_API_CA", api_.ca_file);
    from(options.token_file, "WEIR_TOKEN_FILE", api_.token_file);
  }

  // False when it failed, which was told; `exit_code` says how.
  bool call(const ApiRequest& request, Json& body) {
    const net::Result<ApiAnswer> answer = call_api(api_, request);
    if (!answer) {
      exit_code = context_.fail(context_.escaped(answer.error().text));
      return false;
    }
    body = Json::parse(answer->body, nullptr, false);
    if (answer->status >= 200 && answer->status < 300 &&
        (answer->status == 204 || body.is_object()))
      return true;
    const std::string detail =
        body.is_object() ? text_of(body, "detail") : answer->body.substr(0, 200);
    exit_code =
        context_.fail(context_.escaped(detail) + " (" + std::to_string(answer->status) + ")");
    return false;
  }

  int exit_code = kExitOk;

 private:
  const Context& context_;
  ApiOptions api_;
};

void print_key(const Context& context, const Json& key) {
  if (context.json()) return print_json(context, key);
  static constexpr std::array kShown{"quota",       "key",          "type",       "state",
                                     "total",       "remaining",    "consumed",   "held",
                                     "lost",        "period",       "timezone",   "period_end",
                                     "valid_until", "rate_per_min", "last_synced"};
  Facts facts;
  for (const char* name : kShown)
    facts.add(name, context.escaped(text_of(key, name)));
  facts.print(context);
  const auto holdings = key.find("holdings");
  if (holdings == key.end() || !holdings->is_array() || holdings->empty()) return;
  Table table({{"HOST"}, {"AGENT EPOCH"}, {"CONSUMED", Align::right}, {"CHUNKS (SPENT/GRANTED)"}});
  for (const Json& holding : *holdings) {
    std::string chunks;
    for (const Json& chunk : holding.value("chunks", Json::array()))
      chunks += (chunks.empty() ? "" : ", ") + text_of(chunk, "spent") + "/" +
                text_of(chunk, "granted") + " " + text_of(chunk, "state");
    table.add({context.escaped(text_of(holding, "host")),
               context.escaped(text_of(holding, "agent_epoch")),
               context.escaped(text_of(holding, "consumed")), context.escaped(chunks)});
  }
  context.out << '\n';
  table.print(context);
}

// A table of some members of each item of a page, and how the next one is asked for.
struct ListColumn {
  const char* title;
  const char* member;
  Align align = Align::left;
};
void print_page(const Context& context, const Json& page, const std::vector<ListColumn>& columns,
                const char* next, const char* option) {
  if (context.json()) return print_json(context, page);
  std::vector<Column> titles;
  for (const ListColumn& column : columns)
    titles.push_back({column.title, column.align});
  Table table(std::move(titles));
  for (const Json& item : page.value("items", Json::array())) {
    std::vector<Cell> row;
    for (const ListColumn& column : columns)
      row.emplace_back(context.escaped(text_of(item, column.member)));
    table.add(std::move(row));
  }
  table.print(context);
  if (const std::string more = text_of(page, next); more != "-")
    context.out << "more: " << option << ' ' << context.escaped(more) << '\n';
}

Json config_of(const QuotaOptions& options) {
  Json body = Json::object();
  const auto add = [&](const char* name, const auto& value) {
    if (value) body[name] = *value;
  };
  add("type", options.type);
  add("total", options.total);
  add("period", options.period);
  add("timezone", options.timezone);
  add("valid_until", options.valid_until);
  add("rate_per_min", options.rate);
  add("rate_burst", options.burst);
  return body;
}

// The request of a verb that names a key.
ApiRequest request_of(const std::string& verb, const QuotaOptions& options) {
  const std::string all = "/v1/namespaces/" + percent_encode(options.name_space) + "/quotas";
  const std::string key =
      all + "/" + percent_encode(options.quota) + "/" + percent_encode(options.key);
  ApiRequest request{"POST", key + "/" + verb, {}, options.once};
  Json body = Json::object();
  if (verb == "show") return {"GET", key};
  if (verb == "delete") return {"DELETE", key, {}, options.once};
  if (verb == "create") {
    request.target = all;
    body = config_of(options);
    body["quota"] = options.quota;
    body["key"] = options.key;
  } else if (verb == "configure") {
    request.method = "PATCH";
    request.target = key;
    body = config_of(options);
  } else if (verb == "top-up") {
    if (options.amount != 0) body["amount"] = options.amount;
    if (options.valid_until) body["valid_until"] = *options.valid_until;
  } else if (verb == "reset") {
    if (options.total) body["total"] = *options.total;
  } else if (verb == "write-back") {
    body["agent_epoch"] = options.agent_epoch;
    if (!options.chunk.empty()) body["seq"] = options.chunk;
  }
  request.body = body.dump(-1, ' ', true, Json::error_handler_t::replace);
  return request;
}

int list(const Context& context, const QuotaOptions& options, Caller& caller) {
  ApiRequest request;
  request.target = "/v1/namespaces/" + percent_encode(options.name_space) +
                   "/quotas?limit=" + std::to_string(options.limit);
  if (!options.quota.empty()) request.target += "&quota=" + percent_encode(options.quota);
  if (!options.after.empty()) request.target += "&after=" + percent_encode(options.after);
  if (options.lost) request.target += "&lost=true";
  Json page;
  if (!caller.call(request, page)) return caller.exit_code;
  print_page(context, page,
             {{"QUOTA", "quota"},
              {"KEY", "key"},
              {"STATE", "state"},
              {"TOTAL", "total", Align::right},
              {"REMAINING", "remaining", Align::right},
              {"CONSUMED", "consumed", Align::right},
              {"HELD", "held", Align::right},
              {"LOST", "lost", Align::right}},
             "next", "--after");
  return kExitOk;
}

}  // namespace

int cmd_quota(const Context& context, const std::string& verb, const QuotaOptions& options,
              const Environment& environment) {
  Caller caller(context, options, environment);
  if (verb == "list") return list(context, options, caller);
  Json key;
  if (!caller.call(request_of(verb, options), key)) return caller.exit_code;
  if (verb != "delete") print_key(context, key);
  return kExitOk;
}

int cmd_audit(const Context& context, const QuotaOptions& options, const Environment& environment) {
  Caller caller(context, options, environment);
  ApiRequest request;
  request.target = "/v1/namespaces/" + percent_encode(options.name_space) +
                   "/audit?page_size=" + std::to_string(options.page_size) +
                   "&page=" + std::to_string(options.page);
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) request.target += std::string("&") + name + "=" + percent_encode(value);
  };
  add("quota", options.quota);
  add("key", options.key);
  add("action", options.action);
  add("from", options.from);
  add("to", options.to);
  if (options.before != 0) add("before", std::to_string(options.before));
  Json page;
  if (!caller.call(request, page)) return caller.exit_code;
  print_page(context, page,
             {{"AT", "at"},
              {"QUOTA", "quota"},
              {"KEY", "key"},
              {"ACTION", "action"},
              {"WHO", "who"},
              {"PROCESS", "process"},
              {"AMOUNT", "amount", Align::right},
              {"LEFT", "left", Align::right},
              {"OUTCOME", "outcome"}},
             "next_before", "--before");
  return kExitOk;
}

}  // namespace weir::cli
