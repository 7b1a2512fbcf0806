#include "agent/app.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "agent/http/metrics.h"
#include "daemon/log/printable.h"
#include "shm/clock.h"

namespace weir::agent {

using namespace weir::shm;
namespace asio = boost::asio;
namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kHousekeepingNs = 250'000'000;
using adaptive::kShedSampleNs;
constexpr std::int64_t kHousekeepingIdleNs = 1'000'000'000;
constexpr int kFlushMs = 500;
constexpr int kLastWordsMs = 50;
// A server that does not answer must not hold up a stop; the unit allows five seconds.
constexpr std::int64_t kSettleMaxNs = 2'000'000'000;
constexpr auto kSettleStep = std::chrono::milliseconds(10);
constexpr char kHolderSocket[] = "agent.sock";

std::int64_t wall_s() {
  struct timespec now {};
  ::clock_gettime(CLOCK_REALTIME, &now);  // calendar windows are the one thing that follows it
  return now.tv_sec;
}

Clocks real_clocks() {
  return {[] { return read_mono_ns(); }, [] { return wall_s(); }};
}

Fd take_named(std::vector<InheritedFd>& inherited, const std::string& name) {
  for (InheritedFd& each : inherited)
    if (each.name == name && each.fd) return std::move(each.fd);
  return Fd();
}

}  // namespace

std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string text;
  std::getline(file, text);
  return text;
}

void TickTimes::add(std::int64_t duration_ns) noexcept {
  const auto bits =
      static_cast<std::size_t>(std::bit_width(static_cast<std::uint64_t>(duration_ns)));
  ++counts_[std::min<std::size_t>(bits, counts_.size() - 1)];
  ++total_;
}

std::uint64_t TickTimes::quantile_ns(double share) const noexcept {
  const auto wanted = static_cast<std::uint64_t>(share * static_cast<double>(total_));
  std::uint64_t seen = 0;
  for (std::size_t bits = 0; bits < counts_.size(); ++bits) {
    seen += counts_[bits];
    if (seen > wanted) return bits == 0 ? 0 : std::uint64_t{1} << (bits - 1);
  }
  return 0;
}

App::App(AppOptions options)
    : options_(std::move(options)), timer_(io_), signals_(io_), watch_(io_) {}

App::~App() = default;

int App::run() {
  if (const int code = prepare(); code != kExitOk) {
    flush_log(kFlushMs);
    return code;
  }
  wait_signal();
  watch_rules_file();
  running_ = true;
  next_tick_ns_ = read_mono_ns();
  schedule_tick();
  notifier_.ready("serving " + std::to_string(domains_.size()) + " domain(s)");
  io_.run();
  flush_log(kFlushMs);
  return kExitOk;
}

int App::prepare() {
  ::prctl(PR_SET_TIMERSLACK, 1UL);
  std::signal(SIGPIPE, SIG_IGN);
  ::umask(0022);
  started_ns_ = read_mono_ns();
  while (agent_epoch_ == 0)
    if (::getrandom(&agent_epoch_, sizeof(agent_epoch_), 0) != sizeof(agent_epoch_))
      agent_epoch_ = 0;
  std::vector<InheritedFd> inherited = take_inherited_fds();

  std::error_code failed;
  fs::create_directories(options_.runtime_dir, failed);
  if (failed) {
    spdlog::error("cannot make the runtime directory {}: {}; choose another with --runtime-dir",
                  options_.runtime_dir, failed.message());
    return kExitConfig;
  }
  if (const int code = take_lock(); code != kExitOk) return code;
  ParseResult parsed = load_rules_file(options_.rules_file);
  for (const Problem& problem : parsed.problems)
    spdlog::error("{}", to_string(problem));
  if (!parsed.ok()) return kExitConfig;
  for (const Problem& problem : parsed.rules->warnings)
    spdlog::warn("{}", to_string(problem));
  rules_ = std::move(*parsed.rules);
  ran_before_ = seen_before();

  if (const std::string error = start_cluster(rules_.cluster); !error.empty()) {
    spdlog::error("{}", error);
    return kExitConfig;
  }
  for (const DomainRule& rule : rules_.domains)
    if (const std::string error = serve_domain(rule, inherited); !error.empty()) {
      spdlog::error("domain {}: {}", rule.name, error);
      return kExitInternal;
    }
  rules_loaded_ns_ = read_mono_ns();
  rules_generation_ = 1;
  cpu_ = std::make_unique<CpuSampler>(files_, CpuOptions{.follow = options_.cpu_follow});
  admin_ = std::make_unique<AdminServer>(
      io_,
      [this](const v1::AdminRequest& request, bool may, const AdminServer::Reply& reply) {
        answer(request, may, reply);
      },
      [this](int fd) {
        Peer peer;
        if (!read_peer(fd, peer)) return false;
        for (const ServedDomain& served : domains_)
          if (may_attach(resolve_access(served.domain->rule()), peer)) return true;
        return false;
      });
  if (const std::string error = admin_->listen(options_.runtime_dir + "/admin.sock");
      !error.empty()) {
    spdlog::error("{}", error);
    return kExitInternal;
  }
  if (const std::string error = start_http(); !error.empty()) {
    spdlog::error("{}", error);
    return kExitConfig;
  }
  if (const auto interval = Notifier::watchdog_interval())
    watchdog_ns_ = std::chrono::duration_cast<std::chrono::nanoseconds>(*interval).count() / 2;
  spdlog::info("weir-agent {} serves {} domain(s), {} limit(s) in the first; metrics at {}",
               WEIR_VERSION_TEXT, domains_.size(),
               domains_.empty() ? 0 : domains_.front().domain->rule().limits.size(),
               http_ ? "http://" + http_->bound_address() + "/metrics" : "off");
  return kExitOk;
}

// One agent a runtime directory. The lock is the kernel's and ends with its holder, so what a
// killed agent leaves behind never stands in the way.
int App::take_lock() {
  const std::string path = options_.runtime_dir + "/agent.lock";
  lock_.reset(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!lock_) {
    spdlog::error("cannot open {}: {}; is {} writable for this user?", path, std::strerror(errno),
                  options_.runtime_dir);
    return kExitConfig;
  }
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    char holder[32] = {};
    (void)!::read(lock_.get(), holder, sizeof(holder) - 1);
    spdlog::error("another weir-agent (pid {}) serves {}; stop it or choose another --runtime-dir",
                  printable(std::string_view(holder, std::strcspn(holder, "\n"))),
                  options_.runtime_dir);
    return kExitAlreadyRunning;
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(lock_.get(), 0) != 0 ||
      ::pwrite(lock_.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size()))
    spdlog::warn("cannot write {}: {}", path, std::strerror(errno));
  return kExitOk;
}

// Whether an agent ran here since the host started. If so, and its counters are lost, clients may
// still be spending what it minted: buckets then start empty, so that a restart gives no refill.
bool App::seen_before() {
  const std::string path = options_.runtime_dir + "/agent.state";
  const std::string boot = boot_id();
  std::string known;
  std::ifstream(path) >> known;
  std::ofstream(path, std::ios::trunc) << boot << "\n";
  return !boot.empty() && known == boot;
}

std::string App::serve_domain(const DomainRule& rule, std::vector<InheritedFd>& inherited) {
  DomainOptions options;
  options.clients_max = options_.clients_max;
  options.cpus =
      static_cast<std::uint32_t>(std::clamp<long>(::sysconf(_SC_NPROCESSORS_CONF), 1, kCpusMax));
  options.resources_max = options_.resources_max;
  options.ran_before = ran_before_;
  // Where no cluster is yet, one may come by a reload, and counters cannot grow.
  const std::string home = cluster_ ? cluster_->rule().domain : ClusterRule{}.domain;
  if (home == rule.name) options.quota_keys = options_.quota_keys;
  Inherited kept{take_named(inherited, "counters-" + rule.name),
                 take_named(inherited, "ledger-" + rule.name)};
  const bool had_counters = static_cast<bool>(kept.counters);
  auto made = Domain::make(rule, options, real_clocks(), agent_epoch_, std::move(kept));
  if (!made) return std::string(made.error().what) + ": " + std::strerror(made.error().os_error);
  ServedDomain served;
  served.domain = std::move(*made);
  if (served.domain->adopted())
    spdlog::info("domain {}: counters kept from the agent before", rule.name);
  else if (had_counters)
    spdlog::warn(
        "domain {}: the kept counters are of another version or size; made new ones, "
        "buckets start empty",
        rule.name);
  else if (ran_before_)
    spdlog::warn(
        "domain {}: an agent ran here before and its counters are lost (no descriptor "
        "store); buckets start empty",
        rule.name);
  if (std::string problem = served.domain->places_problem(rule); !problem.empty()) return problem;
  if (!publish(served, rule)) return "more limits than slots";
  if (!served.domain->adopted()) store_fds(*served.domain);
  served.server = std::make_unique<AttachServer>(
      io_, *served.domain, agent_epoch_, [] { return read_mono_ns(); }, [this] { wake(); });
  served.server->set_access(rule);
  served.domain->set_hurry([this] { hurry(); });
  Fd socket = take_named(inherited, rule.socket == kHolderSocket ? "agent" : "agent-" + rule.name);
  if (const std::string error =
          served.server->listen(options_.runtime_dir + "/" + rule.socket, std::move(socket));
      !error.empty())
    return error;
  domains_.push_back(std::move(served));
  return {};
}

void App::store_fds(const Domain& domain) {
  for (const auto& [name, fd] : {std::pair{"counters-" + domain.name(), domain.counters_fd()},
                                 std::pair{"ledger-" + domain.name(), domain.ledger_fd()}}) {
    notifier_.remove_fd(name);
    notifier_.store_fd(name, fd);
  }
}

std::string App::start_http() {
  if (options_.http == "off") return {};
  const std::size_t colon = options_.http.rfind(':');
  HttpOptions http;
  std::string address = options_.http.substr(0, colon);
  if (address.size() > 2 && address.front() == '[') address = address.substr(1, address.size() - 2);
  if (!address.empty()) http.address = address;
  http.port = static_cast<std::uint16_t>(std::stoul(options_.http.substr(colon + 1)));
  HttpRoutes routes;
  routes.add("GET", "/metrics", [this](const HttpRequest&) {
    v1::StatusResponse status;
    v1::LimitsResponse limits;
    fill_status(status);
    fill_limits({}, limits);
    HttpResponse response;
    response.content_type = kMetricsContentType;
    response.body =
        render_metrics(status, limits) + toolkit_metrics() + quota_metrics() + server_metrics();
    return response;
  });
  routes.add("GET", "/healthz", [this](const HttpRequest&) {
    return rules_error_.empty()
               ? text_response(200, "ok")
               : text_response(200, "ok, but the last reload was refused: " + rules_error_);
  });
  http_ = std::make_unique<HttpServer>(io_, http, std::move(routes));
  if (std::string error = http_->start(); !error.empty())
    return error + "; choose another with --http, or --http off";
  return {};
}

void App::schedule_tick() {
  timer_.expires_at(std::chrono::steady_clock::time_point(std::chrono::nanoseconds(next_tick_ns_)));
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error && running_) on_tick();
  });
}

void App::on_tick() {
  const std::int64_t began_ns = read_mono_ns();
  if (began_ns - next_tick_ns_ > kTickLateNs) ++ticks_late_total_;
  bool spent = false;
  std::uint32_t waiting = 0;
  if (cluster_) cluster_->tick();  // withdraws what has ended before anything is minted
  for (const ServedDomain& served : domains_) {
    spent = served.domain->tick() || spent;
    waiting += served.domain->minter().waiting();
  }
  ++ticks_total_;
  if (cluster_ && cluster_->busy()) spent = true;
  if (spent || waiting > 0) last_spent_ns_ = began_ns;
  tick_times_.add(read_mono_ns() - began_ns);

  const bool idle = began_ns - last_spent_ns_ > kIdleAfterNs;
  if (idle != sleeping_) {
    sleeping_ = idle;
    for (ServedDomain& served : domains_) {
      RulesHeader& header = served.domain->rules().header();
      header.tick_us.store(static_cast<std::uint32_t>((idle ? kTickIdleNs : kTickActiveNs) / 1000));
      header.sleeping.store(idle ? 1 : 0);
      // Whoever was refused just before the flag showed did not ring: look once more.
      if (idle) (void)served.domain->tick();
    }
  }
  if (cluster_) cluster_->look();
  housekeeping(began_ns);
  ticked_ns_ = began_ns;
  next_tick_ns_ = next_tick_due_ns(began_ns);
  schedule_tick();
}

std::int64_t App::next_tick_due_ns(std::int64_t began_ns) const {
  const std::int64_t step = sleeping_ ? kTickIdleNs : kTickActiveNs;
  const std::int64_t soonest_ns = std::max(next_tick_ns_ + step, began_ns + step / 2);
  if (sleeping_) return soonest_ns;
  std::int64_t due_ns = std::min({began_ns + kTickCalmNs, next_housekeeping_ns_, next_cpu_ns_});
  for (const ServedDomain& served : domains_)
    due_ns = std::min(due_ns, served.domain->next_due_ns());
  if (cluster_) due_ns = std::min(due_ns, began_ns + cluster_->due_in_ns());
  return std::max(soonest_ns, due_ns);
}

void App::wake() {
  last_spent_ns_ = read_mono_ns();
  hurry();
}

// However much is asked for, an agent that is awake ticks once a millisecond at the most.
void App::hurry() {
  const std::int64_t now_ns = read_mono_ns();
  const std::int64_t due_ns = sleeping_ ? now_ns : std::max(now_ns, ticked_ns_ + kTickActiveNs);
  if (!running_ || due_ns >= next_tick_ns_) return;
  next_tick_ns_ = due_ns;
  schedule_tick();  // replaces the pending wait
}

void App::housekeeping(std::int64_t now_ns) {
  if (watchdog_ns_ > 0 && now_ns >= next_watchdog_ns_) {
    notifier_.ping_watchdog();
    next_watchdog_ns_ = now_ns + watchdog_ns_;
  }
  if (now_ns >= next_housekeeping_ns_) {
    next_housekeeping_ns_ = now_ns + (sleeping_ ? kHousekeepingIdleNs : kHousekeepingNs);
    for (ServedDomain& served : domains_) {
      served.domain->refresh();
      served.server->sweep();
    }
    pump_log();
  }
  if (now_ns >= next_cpu_ns_) {
    // Who sheds needs to know at once.
    bool sheds = false;
    for (const ServedDomain& served : domains_)
      sheds = sheds || (served.domain->toolkit() && served.domain->toolkit()->active());
    const std::int64_t busy_ns = sheds ? kShedSampleNs : kHousekeepingNs;
    next_cpu_ns_ = now_ns + (sleeping_ ? kHousekeepingIdleNs : busy_ns);
    sample_cpu(now_ns);
  }
}

void App::sample_cpu(std::int64_t now_ns) {
  const CpuSample& sample = cpu_->sample(now_ns);
  for (ServedDomain& served : domains_) {
    if (Toolkit* toolkit = served.domain->toolkit()) toolkit->on_sample(now_ns, sample);
    RulesHeader& h = served.domain->rules().header();
    constexpr auto relaxed = std::memory_order_relaxed;
    h.cpu_source.store(static_cast<std::uint32_t>(sample.source), relaxed);
    h.cpu_usage_permille.store(sample.usage_permille.value_or(kCpuAbsent), relaxed);
    h.cpu_smoothed_permille.store(sample.smoothed_permille.value_or(kCpuAbsent), relaxed);
    h.cpu_capacity_millicpus.store(sample.capacity_millicpus.value_or(kCpuAbsent), relaxed);
    h.cpu_throttled_permille.store(sample.throttled_permille.value_or(kCpuAbsent), relaxed);
    const auto psi = sample.cgroup_pressure.some_avg10_centipercent;
    h.cpu_psi_some_avg10_centipercent.store(
        psi ? *psi : sample.host_pressure.some_avg10_centipercent.value_or(kCpuAbsent), relaxed);
    h.cpu_host_usage_permille.store(sample.host_usage_permille.value_or(kCpuAbsent), relaxed);
    h.cpu_sampled_mono_ns.store(sample.sampled_at_mono_ns.value_or(0), std::memory_order_release);
  }
}

void App::wait_signal() {
  for (const int number : {SIGHUP, SIGTERM, SIGINT})
    signals_.add(number);
  signals_.async_wait([this](const boost::system::error_code& error, int number) {
    if (error) return;
    if (number == SIGHUP) {
      notifier_.reloading();
      reload("SIGHUP");
      notifier_.ready(rules_error_.empty() ? "serving" : "serving; the last reload was refused");
      wait_signal();
    } else {
      stop();
    }
  });
}

void App::watch_rules_file() {
  const std::string problem =
      watch_.start(options_.rules_file, [this] { reload("the rules file changed"); });
  if (!problem.empty()) spdlog::warn("{}; use `weir rules apply` or SIGHUP", problem);
}

void App::stop() {
  notifier_.stopping();
  spdlog::info("stopping; limits go on by their fallback rules");
  running_ = false;
  boost::system::error_code ignored;
  timer_.cancel();
  signals_.cancel(ignored);
  watch_.stop();
  if (http_) http_->stop();
  if (admin_) admin_->close();
  std::uint32_t clients = 0;
  for (ServedDomain& served : domains_) {
    clients += served.server->client_count();
    served.server->close();
  }
  finish_stop(read_mono_ns() + kSettleMaxNs, clients == 0);
}

void App::finish_stop(std::int64_t until_ns, bool unused) {
  if (cluster_ && !cluster_->settle() && read_mono_ns() < until_ns) {
    timer_.expires_after(kSettleStep);
    timer_.async_wait([this, until_ns, unused](const boost::system::error_code& error) {
      if (!error) finish_stop(until_ns, unused);
    });
    return;
  }
  // Clients go on spending what is leased, until it ends or an agent is back.
  if (cluster_) cluster_->stop(unused);
  // What was said last is on its way out.
  timer_.expires_after(std::chrono::milliseconds(cluster_ ? kLastWordsMs : 0));
  timer_.async_wait([this](const boost::system::error_code&) { io_.stop(); });
}

// Where an embedded server keeps what must outlive a restart. The runtime directory does not
// outlive the host's own.
std::string App::state_dir() const {
  if (!options_.state_dir.empty()) return options_.state_dir;
  if (const char* given = ::secure_getenv("STATE_DIRECTORY"); given != nullptr && *given == '/')
    return std::string(given, std::strcspn(given, ":"));
  return options_.runtime_dir;
}

}  // namespace weir::agent
