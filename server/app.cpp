#include "server/app.h"

#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>

#include "daemon/log/log.h"
#include "rules/address.h"
#include "server/access.h"
#include "server/metrics.h"
#include "server/store_options.h"

namespace weir::server {

namespace asio = boost::asio;

namespace {

constexpr auto kTick = std::chrono::milliseconds(250);
constexpr auto kStopPatience = std::chrono::milliseconds(1'000);
constexpr auto kStopStep = std::chrono::milliseconds(20);
constexpr int kFlushMs = 500;

// Every agent is a connection, and the usual 1024 would be the first bound that is met.
void raise_descriptors() {
  struct rlimit limit {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

App::App(AppOptions options)
    : options_(std::move(options)), timer_(io_), signals_(io_), watch_(io_) {}
App::~App() = default;

int App::run() {
  if (const int code = prepare(); code != kExitOk) {
    flush_log(kFlushMs);
    return code;
  }
  wait_signal();
  watch_file();
  if (const auto interval = Notifier::watchdog_interval())
    watchdog_ = std::chrono::duration_cast<std::chrono::nanoseconds>(*interval) / 2;
  notifier_.ready("serving " + std::to_string(server_->rules().namespaces.size()) +
                  " namespace(s)");
  schedule();
  io_.run();
  http_.reset();
  api_.reset();
  server_.reset();
  shared_store_.reset();
  cluster_.reset();
  store_.reset();  // writes what waits
  flush_log(kFlushMs);
  return kExitOk;
}

int App::prepare() {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is an error like any other
  ::umask(0077);
  raise_descriptors();
  ServerParseResult parsed = load_server_file(options_.file);
  for (const Problem& problem : parsed.problems)
    spdlog::error("{}", to_string(problem));
  if (!parsed.ok()) return kExitConfig;
  for (const Problem& warning : parsed.rules->warnings)
    spdlog::warn("{}", to_string(warning));
  apply_options(*parsed.rules);
  ServerOptions server_options{.name = options_.name, .version = WEIR_VERSION_TEXT};
  if (parsed.rules->etcd.enabled()) {
    if (const std::string error = join_cluster(*parsed.rules); !error.empty()) {
      spdlog::error("{}", error);
      return kExitConfig;
    }
    server_options.elected = true;
    server_options.claim_key = cluster_->claim_key();
    server_options.on_higher_epoch = [this](const std::string& name_space, std::uint64_t seen) {
      cluster_->raise_epoch(name_space, seen);
    };
  }
  server_ = std::make_unique<TokenServer>(io_, std::move(server_options));
  api_ = std::make_unique<Api>(*server_);
  // Before the first agent can ask: one that is told that there are no quotas stops spending.
  if (const std::string error = open_store(*parsed.rules); !error.empty()) {
    spdlog::error("{}", error);
    return kExitConfig;
  }
  if (const StartResult started = server_->start(*parsed.rules); !started) {
    spdlog::error("{}", started.error);
    return started.in_use ? kExitAlreadyRunning : kExitConfig;
  }
  if (cluster_) cluster_->start(*server_, [this] { reload("rules in etcd"); });
  if (const std::string error = start_http(*parsed.rules); !error.empty()) {
    spdlog::error("{}", error);
    return kExitConfig;
  }
  std::string addresses;
  for (const std::string& address : server_->addresses())
    addresses += addresses.empty() ? address : ", " + address;
  spdlog::info("weir-server {} listens at {}; http: {}", WEIR_VERSION_TEXT, addresses,
               http_ ? (parsed.rules->http_tls.enabled ? "https://" : "http://") +
                           http_->bound_address() + "/metrics"
                     : "off");
  return kExitOk;
}

// What agents can prove to hold, and perhaps the rules, are etcd's: without it there is no start.
std::string App::join_cluster(ServerRules& rules) {
  std::string name = options_.name;
  if (name.empty()) {
    char host[256] = {};
    if (::gethostname(host, sizeof(host) - 1) != 0 || host[0] == '\0')
      return "this host has no name; give the server one with --name";
    name = host;
  }
  rules_in_etcd_ = rules.namespaces.empty();
  cluster_ = std::make_unique<etcd::Cluster>(io_, rules.etcd, std::move(name));
  notifier_.status("waiting for etcd");
  if (std::string error = cluster_->prepare(rules_in_etcd_); !error.empty()) return error;
  apply_options(rules);
  return {};
}

void App::apply_options(ServerRules& rules) const {
  if (rules_in_etcd_ && cluster_) rules.namespaces = cluster_->namespaces();
  if (!options_.http.empty()) rules.http = options_.http == "off" ? "" : options_.http;
  if (!options_.state_dir.empty()) rules.state_dir = options_.state_dir;
}

// Only where there are quotas: no other server needs a disk that syncs.
std::string App::open_store(const ServerRules& rules) {
  if (store_ || !rules.has_quotas()) return {};
  std::error_code ignored;
  std::filesystem::create_directories(rules.state_dir, ignored);  // what is wrong shows below
  std::unique_ptr<SqliteStore> store;
  SqliteOptions options = store_options(rules);
  options.post = [this](std::function<void()> call) { asio::post(io_, std::move(call)); };
  if (std::string error = SqliteStore::open(std::move(options), store); !error.empty())
    return "the quotas' store: " + error;
  store_ = std::move(store);
  QuotaStore* quotas = store_.get();
  if (cluster_) {
    // The records move with the namespace; the file has this server's part of the audit log.
    etcd::QuotaStoreOptions shared;
    shared.prefix = rules.etcd.prefix;
    shared.fence = [this](const std::string& name_space) { return cluster_->fence(name_space); };
    shared.post = [this](std::function<void()> call) { asio::post(io_, std::move(call)); };
    shared.audit = store_.get();
    shared_store_ = std::make_unique<etcd::EtcdQuotaStore>(cluster_->client(), std::move(shared));
    quotas = shared_store_.get();
  }
  spdlog::info("quotas: {}", quotas->stats().durability);
  server_->use_store(*quotas, *store_);
  api_->use_store(quotas, store_.get());
  return {};
}

std::string App::start_http(const ServerRules& rules) {
  const std::string& address = rules.http;
  if (address.empty()) return {};
  std::shared_ptr<net::TlsContext> tls;
  if (std::string error = load_tls(rules.http_tls, "http_tls", tls); !error.empty()) return error;
  const Parsed<AddressText> parsed = parse_address_text(address, AddressUse::http);
  if (!parsed.value) return "http '" + address + "' " + parsed.error;
  HttpOptions http;
  http.address = parsed.value->host;
  http.port = parsed.value->port;
  http.tls = net::native_of(tls);
  HttpRoutes routes;
  routes.add("GET", "/metrics", [this](const HttpRequest&) {
    HttpResponse response;
    response.content_type = kMetricsContentType;
    response.body = render_metrics(server_->status());
    return response;
  });
  routes.add("GET", "/healthz", [this](const HttpRequest&) {
    const ServerStatus status = server_->status(false);
    std::string text = "ok";
    if (!status.reload_error.empty())
      text += ", but the last reload was refused: " + status.reload_error;
    if (status.state.degraded)
      text += ", but its state cannot be stored: " + status.state.last_error;
    return text_response(200, text);
  });
  http_ = std::make_unique<HttpServer>(
      io_, http,
      HttpAsyncHandler(
          [this, routes = std::move(routes)](const HttpRequest& request, HttpRespond respond) {
            if (Api::serves(request)) return api_->handle(request, std::move(respond));
            respond(routes(request));
          }));
  if (std::string error = http_->start(); !error.empty())
    return error + "; choose another with 'http' in the file, or http: off";
  return {};
}

void App::wait_signal() {
  for (const int number : {SIGHUP, SIGTERM, SIGINT})
    signals_.add(number);
  signals_.async_wait([this](const boost::system::error_code& error, int number) {
    if (error) return;
    if (number != SIGHUP) {
      stop();
      return;
    }
    notifier_.reloading();
    reload("SIGHUP");
    notifier_.ready(reload_good_ ? "serving" : "serving; the last reload was refused");
    wait_signal();
  });
}

void App::watch_file() {
  const std::string problem = watch_.start(options_.file, [this] { reload("the file changed"); });
  if (!problem.empty()) spdlog::warn("{}; use SIGHUP", problem);
}

void App::reload(const char* why) {
  ServerParseResult parsed = load_server_file(options_.file);
  std::vector<std::string> problems;
  for (const Problem& problem : parsed.problems)
    problems.push_back(to_string(problem));
  reload_good_ = parsed.ok();
  if (parsed.ok()) {
    for (const Problem& warning : parsed.rules->warnings)
      spdlog::warn("{}", to_string(warning));
    apply_options(*parsed.rules);
    std::shared_ptr<net::TlsContext> tls;
    std::string error = load_tls(parsed.rules->http_tls, "http_tls", tls);
    if (error.empty()) error = open_store(*parsed.rules);
    if (error.empty())
      error = server_->apply(*parsed.rules);
    else
      server_->note_reload_failure(error);
    // Whether there is TLS at all is settled at the start.
    if (error.empty() && http_ && http_->secure() && tls) http_->set_tls(net::native_of(tls));
    reload_good_ = error.empty();
    if (!error.empty()) problems.push_back(error);
    if (cluster_ && error.empty()) cluster_->set_namespaces(server_->rules().namespaces);
  } else {
    server_->note_reload_failure(problems.empty() ? "unknown" : problems.front());
  }
  for (const std::string& problem : problems)
    spdlog::error("reload ({}): {}", why, problem);
  if (!reload_good_) spdlog::error("reload ({}): refused; what is in force stays as it is", why);
}

void App::schedule() {
  timer_.expires_after(watchdog_.count() > 0 ? std::min<std::chrono::nanoseconds>(kTick, watchdog_)
                                             : std::chrono::nanoseconds(kTick));
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) on_timer();
  });
}

void App::on_timer() {
  const auto now = Clock::now();
  if (watchdog_.count() > 0 && now >= next_watchdog_) {
    notifier_.ping_watchdog();
    next_watchdog_ = now + watchdog_;
  }
  pump_log();
  schedule();
}

void App::stop() {
  notifier_.stopping();
  spdlog::info("stopping; what hosts hold goes on until its end, and their fallback after it");
  boost::system::error_code ignored;
  signals_.cancel(ignored);
  watch_.stop();
  if (http_) http_->stop();
  if (cluster_) {
    resigned_ = false;
    cluster_->stop([this] { resigned_ = true; });
  }
  server_->stop();
  finish_stop(Clock::now() + kStopPatience);
}

void App::finish_stop(Clock::time_point until) {
  if ((server_->drained() && resigned_) || Clock::now() >= until) {
    io_.stop();
    return;
  }
  timer_.expires_after(kStopStep);
  timer_.async_wait([this, until](const boost::system::error_code& error) {
    if (!error) finish_stop(until);
  });
}

}  // namespace weir::server
