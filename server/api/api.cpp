#include "server/api/api.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <span>
#include <utility>

#include "daemon/log/limiter.h"
#include "daemon/log/printable.h"
#include "net/secret.h"
#include "server/api/parts.h"
#include "server/server_impl.h"

namespace weir::server {

using namespace api;

namespace api {
extern const char* const kOpenApiText;  // made from docs/openapi.yaml
}

namespace {

constexpr std::size_t kTokenBytesMax = 512;
constexpr int kConfigureTries = 8;

// An operation on a key that is named in the path.
struct Verb {
  std::string_view name;
  lease::QuotaChangeKind kind;
};
constexpr Verb kVerbs[] = {{"top-up", lease::QuotaChangeKind::top_up},
                           {"reset", lease::QuotaChangeKind::reset},
                           {"suspend", lease::QuotaChangeKind::suspend},
                           {"resume", lease::QuotaChangeKind::resume},
                           {"write-back", lease::QuotaChangeKind::write_back}};

HttpResponse not_found(std::string_view what) { return problem(404, "not_found", what); }
HttpResponse wrong_method(std::string_view allowed) {
  HttpResponse response = problem(405, "method", "allowed here: " + std::string(allowed));
  response.headers.emplace_back("Allow", std::string(allowed));
  return response;
}

// The same request again has the same number; zero is none.
std::uint64_t change_id(const HttpRequest& request, std::string_view key) {
  if (key.empty()) return 0;
  static constexpr unsigned char kPublic[16] = {'w', 'e', 'i', 'r', '-', 'a', 'p', 'i'};
  std::string text = request.method + "\n" + request.path + "\n";
  text += key;
  const std::uint64_t id = net::mac64(kPublic, std::as_bytes(std::span(text)));
  return id == 0 ? 1 : id;
}

}  // namespace

class Api::Impl : public std::enable_shared_from_this<Api::Impl> {
 public:
  explicit Impl(TokenServer& token_server) : server(token_server) {}

  void handle(const HttpRequest& request, HttpRespond respond);

  TokenServer& server;
  QuotaStore* store = nullptr;
  AuditLog* audit = nullptr;

 private:
  using Path = std::vector<std::string>;  // its segments, below /v1

  // Who asks; null: nobody, and an answer was given.
  const ApiToken* who(const HttpRequest& request, const HttpRespond& respond);
  bool may(const ApiToken& token, ApiRole least, const HttpRespond& respond) const;
  void in_namespace(const HttpRequest& request, const Path& path, const ApiToken& token,
                    HttpRespond respond);
  void limits(const std::string& name_space, const HttpRespond& respond);
  void concurrency(const std::string& name_space, const HttpRespond& respond);
  void hosts(const std::string& name_space, const HttpRespond& respond);
  void list_quotas(const HttpRequest& request, const std::string& name_space, HttpRespond respond);
  void create(const HttpRequest& request, const std::string& name_space, const ApiToken& token,
              HttpRespond respond);
  void quota(const HttpRequest& request, const Path& path, const ApiToken& token,
             HttpRespond respond);
  void read(const std::string& name_space, const std::string& key, HttpRespond respond);
  void configure(const HttpRequest& request, const std::string& name_space, const std::string& key,
                 const ApiToken& token, HttpRespond respond);
  void configure_again(const HttpRequest& request, const std::string& name_space,
                       const std::string& key, const ApiToken& by, int tries, HttpRespond respond);
  void act(const HttpRequest& request, const std::string& name_space, const std::string& key,
           lease::QuotaChangeKind kind, const ApiToken& token, HttpRespond respond);
  void submit(const HttpRequest& request, const std::string& name_space, lease::QuotaChange change,
              const ApiToken& token, HttpRespond respond,
              std::function<void()> if_outdated = nullptr);
  void audit_page(const HttpRequest& request, const std::string& name_space, HttpRespond respond);
  void clean(const HttpRequest& request, const ApiToken& token, HttpRespond respond);
  bool stored(const HttpRespond& respond) const;
  const NamespaceRule* rule_of(const std::string& name_space) const;

  LogLimiter limiter_;
};

// ------------------------------------------------------------------ who

const ApiToken* Api::Impl::who(const HttpRequest& request, const HttpRespond& respond) {
  const std::vector<ApiToken>& tokens = server.rules().api;
  if (tokens.empty()) {
    respond(problem(403, "off", "the API is off: the server's file has no 'api' with tokens"));
    return nullptr;
  }
  constexpr std::string_view kBearer = "Bearer ";
  const std::string_view header = request.header("Authorization");
  if (!header.starts_with(kBearer) || header.size() > kBearer.size() + kTokenBytesMax) {
    respond(problem(401, "no_token", "it takes an Authorization: Bearer ... of the server's file"));
    return nullptr;
  }
  const std::string_view shown = header.substr(kBearer.size());
  for (const ApiToken& token : tokens)
    if (net::token_matches(shown, token.token)) return &token;
  if (const auto verdict = limiter_.admit("api", mono_now_ns()))
    spdlog::warn("api: a wrong token from {}{}", printable(request.peer), verdict.suffix());
  respond(problem(401, "wrong_token", "this token is not known here"));
  return nullptr;
}

bool Api::Impl::may(const ApiToken& token, ApiRole least, const HttpRespond& respond) const {
  if (token.role >= least) return true;
  respond(problem(403, "role",
                  "the token '" + token.name + "' has the role " +
                      std::string(to_text(token.role)) + "; it takes " +
                      std::string(to_text(least))));
  return false;
}

bool Api::Impl::stored(const HttpRespond& respond) const {
  if (store != nullptr && audit != nullptr) return true;
  respond(problem(503, "no_store", "no namespace of this server has quotas"));
  return false;
}

const NamespaceRule* Api::Impl::rule_of(const std::string& name_space) const {
  for (const NamespaceRule& rule : server.rules().namespaces)
    if (rule.name == name_space) return &rule;
  return nullptr;
}

// ------------------------------------------------------------------ where

void Api::Impl::handle(const HttpRequest& request, HttpRespond respond) {
  auto path = path_segments(request.path);
  if (!path) return respond(problem(400, "path", "the path has a broken percent escape"));
  path->erase(path->begin());  // v1
  const ApiToken* token = who(request, respond);
  if (token == nullptr) return;
  if (path->size() == 1 && (*path)[0] == "openapi.yaml") {
    if (request.method != "GET") return respond(wrong_method("GET, HEAD"));
    HttpResponse response;
    response.content_type = "application/yaml";
    response.body = kOpenApiText;
    return respond(std::move(response));
  }
  if (path->size() == 1 && (*path)[0] == "status") {
    if (request.method != "GET") return respond(wrong_method("GET, HEAD"));
    ServerStatus status = server.status(false);
    std::erase_if(status.spaces, [&](const SpaceStatus& space) {
      return !token->namespaces.empty() &&
             std::find(token->namespaces.begin(), token->namespaces.end(), space.name) ==
                 token->namespaces.end();
    });
    return respond(json_response(200, to_json(status)));
  }
  if (path->size() == 2 && (*path)[0] == "audit" && (*path)[1] == "retention")
    return clean(request, *token, std::move(respond));
  if (path->size() >= 3 && (*path)[0] == "namespaces")
    return in_namespace(request, *path, *token, std::move(respond));
  respond(not_found("there is nothing at this path; /v1/openapi.yaml says what there is"));
}

void Api::Impl::in_namespace(const HttpRequest& request, const Path& path, const ApiToken& token,
                             HttpRespond respond) {
  const std::string& name_space = path[1];
  const std::vector<std::string>& own = token.namespaces;
  if (!own.empty() && std::find(own.begin(), own.end(), name_space) == own.end())
    return respond(
        problem(403, "namespace", "the token '" + token.name + "' is not for this namespace"));
  if (rule_of(name_space) == nullptr)
    return respond(not_found("there is no such namespace on this server"));
  const std::string& what = path[2];
  if (what == "quotas" && path.size() >= 5) return quota(request, path, token, std::move(respond));
  if (path.size() == 3 && what == "quotas" && request.method == "POST")
    return create(request, name_space, token, std::move(respond));
  const bool known = path.size() == 3 && (what == "quotas" || what == "audit" || what == "limits" ||
                                          what == "concurrency" || what == "hosts");
  if (!known) return respond(not_found("there is nothing at this path"));
  if (request.method != "GET")
    return respond(wrong_method(what == "quotas" ? "GET, HEAD, POST" : "GET, HEAD"));
  if (what == "limits") return limits(name_space, respond);
  if (what == "concurrency") return concurrency(name_space, respond);
  if (what == "hosts") return hosts(name_space, respond);
  if (what == "audit") return audit_page(request, name_space, std::move(respond));
  list_quotas(request, name_space, std::move(respond));
}

void Api::Impl::limits(const std::string& name_space, const HttpRespond& respond) {
  Json items = Json::array();
  for (const SpaceStatus& space : server.status().spaces) {
    if (space.name != name_space) continue;
    for (const LimitStatus& limit : space.limits)
      items.push_back(to_json(limit));
  }
  respond(json_response(200, Json{{"items", std::move(items)}}));
}

void Api::Impl::concurrency(const std::string& name_space, const HttpRespond& respond) {
  Json items = Json::array();
  for (const SpaceStatus& space : server.status().spaces) {
    if (space.name != name_space) continue;
    for (const lease::PermitStatus& each : space.permits)
      items.push_back(to_json(each));
  }
  respond(json_response(200, Json{{"items", std::move(items)}}));
}

void Api::Impl::hosts(const std::string& name_space, const HttpRespond& respond) {
  std::vector<HostStatus> found;
  if (!server.hosts(name_space, found)) return respond(not_found("there is no such namespace"));
  Json items = Json::array();
  for (const HostStatus& host : found)
    items.push_back(to_json(host));
  respond(json_response(200, Json{{"items", std::move(items)}}));
}

// ------------------------------------------------------------------ quotas

void Api::Impl::list_quotas(const HttpRequest& request, const std::string& name_space,
                            HttpRespond respond) {
  if (!stored(respond)) return;
  QuotaQuery query;
  query.name_space = name_space;
  query.name = request.query_value("quota");
  std::string error;
  query.rows_max = static_cast<std::uint32_t>(
      query_number(request, "limit", kPageDefault, 1, kQuotaPageMax, error));
  const auto after = from_cursor(request.query_value("after"));
  if (!after && error.empty()) error = "after must be the 'next' of a page before";
  const std::string lost = request.query_value("lost");
  if (error.empty() && !lost.empty() && lost != "true" && lost != "false")
    error = "lost must be true or false";
  if (query.name.size() > lease::kQuotaNameBytesMax && error.empty())
    error = "the quota's name is too long";
  if (!error.empty()) return respond(problem(400, "query", error));
  query.after = *after;
  query.lost_only = lost == "true";
  store->page(query, [name_space, respond](const QuotaPage& page) {
    if (!page.why.empty()) return respond(problem(503, "store", page.why));
    Json items = Json::array();
    for (const QuotaPage::Row& row : page.rows)
      items.push_back(to_json(name_space, row.key, row.record));
    const bool more = page.more && !page.rows.empty();
    respond(json_response(
        200, Json{{"items", std::move(items)},
                  {"next", more ? Json(to_cursor(page.rows.back().key)) : Json(nullptr)}}));
  });
}

void Api::Impl::create(const HttpRequest& request, const std::string& name_space,
                       const ApiToken& token, HttpRespond respond) {
  if (!may(token, ApiRole::admin, respond) || !stored(respond)) return;
  Fields fields(request.body);
  const auto name = fields.text("quota");
  const auto key = fields.text("key");
  if (!name || !key) fields.fail("it takes 'quota' and 'key'");
  const NamespaceRule& space = *rule_of(name_space);
  const auto rule = std::find_if(space.quotas.begin(), space.quotas.end(),
                                 [&](const QuotaRule& each) { return name && each.name == *name; });
  lease::QuotaChange change;
  if (rule != space.quotas.end()) {
    change.config = quota_config(*rule);
    if (rule->valid_ns != 0)
      change.config.valid_until_wall_ms =
          wall_now_ms() + static_cast<std::int64_t>(rule->valid_ns / 1'000'000);
  }
  std::string error;
  if (!read_config(fields, change.config, error)) return respond(problem(400, "body", error));
  if (std::string why = lease::check_quota_key(*name, *key); !why.empty())
    return respond(problem(422, "key", why));
  if (rule == space.quotas.end())
    return respond(problem(422, "quota", "the server's file has no such quota in this namespace"));
  change.kind = lease::QuotaChangeKind::create;
  change.key = lease::quota_key(*name, *key);
  submit(request, name_space, std::move(change), token, std::move(respond));
}

// /namespaces/NS/quotas/QUOTA/KEY[/VERB]
void Api::Impl::quota(const HttpRequest& request, const Path& path, const ApiToken& token,
                      HttpRespond respond) {
  if (!stored(respond)) return;
  const std::string& name_space = path[1];
  if (lease::check_quota_key(path[3], path[4]).empty() == false)
    return respond(problem(422, "key", lease::check_quota_key(path[3], path[4])));
  const std::string key = lease::quota_key(path[3], path[4]);
  if (path.size() == 5) {
    if (request.method == "GET") return read(name_space, key, std::move(respond));
    if (request.method == "PATCH")
      return configure(request, name_space, key, token, std::move(respond));
    if (request.method == "DELETE")
      return act(request, name_space, key, lease::QuotaChangeKind::remove, token,
                 std::move(respond));
    return respond(wrong_method("GET, HEAD, PATCH, DELETE"));
  }
  const auto verb = std::find_if(std::begin(kVerbs), std::end(kVerbs),
                                 [&](const Verb& each) { return each.name == path[5]; });
  if (path.size() != 6 || verb == std::end(kVerbs))
    return respond(not_found("there is nothing at this path"));
  if (request.method != "POST") return respond(wrong_method("POST"));
  act(request, name_space, key, verb->kind, token, std::move(respond));
}

void Api::Impl::read(const std::string& name_space, const std::string& key, HttpRespond respond) {
  server.quota_read(name_space, key, [name_space, key, respond](const lease::QuotaResult& result) {
    if (result.outcome == lease::QuotaChangeOutcome::busy ||
        result.outcome == lease::QuotaChangeOutcome::store_failed)
      return respond(problem(503, "busy", result.message));
    if (!result.view.found) return respond(not_found("there is no such key"));
    Json json = to_json(name_space, key, result.view.record);
    json["holdings"] = Json::array();
    for (const lease::QuotaHolding& holding : result.view.holdings)
      json["holdings"].push_back(to_json(holding));
    respond(json_response(200, json));
  });
}

void Api::Impl::configure(const HttpRequest& request, const std::string& name_space,
                          const std::string& key, const ApiToken& token, HttpRespond respond) {
  if (!may(token, ApiRole::admin, respond)) return;
  ApiToken by;
  by.name = token.name;
  configure_again(request, name_space, key, by, kConfigureTries, std::move(respond));
}

// The record is read first, so that what the body does not name stays as it is; and read again
// where another change of it came in between.
void Api::Impl::configure_again(const HttpRequest& request, const std::string& name_space,
                                const std::string& key, const ApiToken& by, int tries,
                                HttpRespond respond) {
  server.quota_read(
      name_space, key,
      [weak = weak_from_this(), request, name_space, key, by, tries,
       respond](const lease::QuotaResult& result) {
        const auto self = weak.lock();
        if (!self) return;
        if (!result.view.found && result.outcome == lease::QuotaChangeOutcome::unknown_key)
          return respond(not_found("there is no such key"));
        if (!result.view.found) return respond(problem(503, "busy", result.message));
        lease::QuotaChange change;
        change.kind = lease::QuotaChangeKind::configure;
        change.key = key;
        change.replaces = change.config = result.view.record.config;
        Fields fields(request.body);
        std::string error;
        if (!read_config(fields, change.config, error)) return respond(problem(400, "body", error));
        std::function<void()> again;
        if (tries > 1)
          again = [weak, request, name_space, key, by, tries, respond] {
            if (const auto still = weak.lock())
              still->configure_again(request, name_space, key, by, tries - 1, respond);
          };
        self->submit(request, name_space, std::move(change), by, respond, std::move(again));
      });
}

void Api::Impl::act(const HttpRequest& request, const std::string& name_space,
                    const std::string& key, lease::QuotaChangeKind kind, const ApiToken& token,
                    HttpRespond respond) {
  const bool remove = kind == lease::QuotaChangeKind::remove;
  if (!may(token, remove ? ApiRole::admin : ApiRole::operate, respond)) return;
  lease::QuotaChange change;
  change.kind = kind;
  change.key = key;
  Fields fields(request.body);
  if (kind == lease::QuotaChangeKind::top_up) {
    change.amount = 0;
    if (const auto amount = fields.amount("amount", 1, lease::kUnitsMax)) change.amount = *amount;
    if (const auto until = fields.time("valid_until")) change.config.valid_until_wall_ms = *until;
    if (change.amount == 0 && change.config.valid_until_wall_ms == 0)
      fields.fail("it takes 'amount', 'valid_until', or both");
  } else if (kind == lease::QuotaChangeKind::reset) {
    if (const auto total = fields.amount("total", 0, lease::kUnitsMax)) change.amount = *total;
  } else if (kind == lease::QuotaChangeKind::write_back) {
    const auto agent_epoch = fields.id("agent_epoch");
    if (!agent_epoch) fields.fail("it takes 'agent_epoch', that of the host that was lost");
    change.agent_epoch = agent_epoch.value_or(0);
    change.seq = fields.id("seq").value_or(0);
  }
  if (const std::string error = fields.error(); !error.empty())
    return respond(problem(400, "body", error));
  submit(request, name_space, std::move(change), token, std::move(respond));
}

void Api::Impl::submit(const HttpRequest& request, const std::string& name_space,
                       lease::QuotaChange change, const ApiToken& token, HttpRespond respond,
                       std::function<void()> if_outdated) {
  const std::string_view idempotency = request.header("Idempotency-Key");
  if (idempotency.size() > kIdempotencyKeyBytesMax)
    return respond(problem(400, "idempotency_key", "an Idempotency-Key has at most 128 bytes"));
  change.change_id = change_id(request, idempotency);
  change.by = token.name;
  const lease::QuotaChangeKind kind = change.kind;
  const std::string key = change.key;
  const auto done = [name_space, key, kind, respond,
                     if_outdated](const lease::QuotaResult& result) {
    using Outcome = lease::QuotaChangeOutcome;
    if (result.outcome == Outcome::outdated && if_outdated) return if_outdated();
    if (result.outcome == Outcome::outdated)
      return respond(problem(503, "busy", result.message + ", again and again; try once more"));
    const bool again = result.outcome == Outcome::done_before;
    if (result.outcome == Outcome::exists) return respond(problem(409, "exists", result.message));
    if (result.outcome == Outcome::unknown_key) return respond(not_found("there is no such key"));
    if (result.outcome == Outcome::bad) return respond(problem(422, "refused", result.message));
    if (result.outcome != Outcome::done && !again)
      return respond(problem(503, "store", result.message));
    HttpResponse response;
    if (kind == lease::QuotaChangeKind::remove) {
      response.status = 204;
    } else {
      response = json_response(kind == lease::QuotaChangeKind::create ? 201 : 200,
                               to_json(name_space, key, result.view.record));
    }
    if (again) response.headers.emplace_back("Idempotent-Replayed", "true");
    respond(std::move(response));
  };
  server.quota_change(name_space, std::move(change), done);
}

// ------------------------------------------------------------------ the audit log

void Api::Impl::audit_page(const HttpRequest& request, const std::string& name_space,
                           HttpRespond respond) {
  if (!stored(respond)) return;
  AuditQuery query;
  query.name_space = name_space;
  std::string error;
  const auto fail = [&](std::string what) {
    if (error.empty()) error = std::move(what);
  };
  const std::string quota = request.query_value("quota"), key = request.query_value("key");
  if (quota.empty() != key.empty()) fail("quota and key filter together");
  if (!key.empty()) query.key = lease::quota_key(quota, key);
  query.action = request.query_value("action");
  bool known = query.action.empty();
  for (unsigned i = 0; i <= static_cast<unsigned>(lease::QuotaAction::restore); ++i)
    known = known || lease::to_text(static_cast<lease::QuotaAction>(i)) == query.action;
  if (!known) fail("there is no such action");
  for (const auto& [name, at] :
       {std::pair{"from", &query.from_wall_ms}, std::pair{"to", &query.to_wall_ms}}) {
    const std::string text = request.query_value(name);
    if (text.empty()) continue;
    const auto time = parse_time(text);
    if (!time) fail(std::string(name) + " must be a time such as 2027-01-31T00:00:00Z");
    *at = time.value_or(0);
  }
  query.page_size = static_cast<std::uint32_t>(
      query_number(request, "page_size", kPageDefault, 1, kPageRowsMax, error));
  query.page =
      static_cast<std::uint32_t>(query_number(request, "page", 1, 1, kAuditSkipMax, error));
  query.before_id =
      query_number(request, "before", 0, 1, static_cast<std::uint64_t>(INT64_MAX), error);
  if (static_cast<std::uint64_t>(query.page - 1) * query.page_size > kAuditSkipMax)
    fail("that page is too far away; use 'before', with the id of the last row that you have");
  if (!error.empty()) return respond(problem(400, "query", error));
  audit->page(query, [respond](const AuditPage& page) {
    if (!page.why.empty()) return respond(problem(503, "store", page.why));
    Json items = Json::array();
    for (const AuditRow& row : page.rows)
      items.push_back(to_json(row));
    const bool more = page.more && !page.rows.empty();
    respond(json_response(200,
                          Json{{"items", std::move(items)},
                               {"next_before", more ? Json(page.rows.back().id) : Json(nullptr)}}));
  });
}

// GET says how it stands, POST cleans now.
void Api::Impl::clean(const HttpRequest& request, const ApiToken& token, HttpRespond respond) {
  if (!stored(respond)) return;
  if (request.method == "GET") return respond(json_response(200, to_json(audit->clean_stats())));
  if (request.method != "POST") return respond(wrong_method("GET, HEAD, POST"));
  if (!may(token, ApiRole::admin, respond)) return;
  if (!token.namespaces.empty())
    return respond(problem(403, "namespace", "the log is that of all namespaces"));
  audit->clean_now(wall_now_ms(), [respond](const CleanStats& stats) {
    respond(json_response(200, to_json(stats)));
  });
}

// ------------------------------------------------------------------ the public face

Api::Api(TokenServer& server) : impl_(std::make_shared<Impl>(server)) {}
Api::~Api() = default;

void Api::use_store(QuotaStore* store, AuditLog* audit) {
  impl_->store = store;
  impl_->audit = audit;
}

bool Api::serves(const HttpRequest& request) noexcept {
  return request.path == "/v1" || request.path.starts_with("/v1/");
}

void Api::handle(const HttpRequest& request, HttpRespond respond) {
  impl_->handle(request, std::move(respond));
}

}  // namespace weir::server
