#include "agent/upstream/embedded.h"

#include <spdlog/spdlog.h>
#include <sys/prctl.h>

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <future>

#include "server/store_options.h"

namespace weir::agent {

namespace asio = boost::asio;

namespace {
constexpr auto kStatusEvery = std::chrono::seconds(1);
constexpr auto kStopPoll = std::chrono::milliseconds(10);
constexpr int kStopPollsMax = 50;
}  // namespace

EmbeddedServer::EmbeddedServer(asio::io_context& owner) : owner_(owner) {}

EmbeddedServer::~EmbeddedServer() { stop(); }

std::string EmbeddedServer::start(const ServerRules& rules, const std::string& version) {
  server::ServerOptions options;
  options.version = version;
  server_ = std::make_unique<server::TokenServer>(io_, options);
  // Before the first agent can ask: one that is told that there are no quotas stops spending.
  if (std::string error = open_store(rules); !error.empty()) {
    server_.reset();
    return error;
  }
  // Before the thread exists: what fails here fails as a start does.
  if (const server::StartResult started = server_->start(rules); !started) {
    server_.reset();
    return started.error;
  }
  take_status();
  refresh();
  // Signals are the agent's.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] {
    ::prctl(PR_SET_NAME, "weir-server");
    io_.run();
  });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return {};
}

void EmbeddedServer::apply(const ServerRules& rules, std::function<void(const std::string&)> done) {
  asio::post(io_, [this, rules, done = std::move(done)] {
    std::string wrong = open_store(rules);
    if (wrong.empty()) wrong = server_->apply(rules);
    asio::post(owner_, [wrong = std::move(wrong), done] { done(wrong); });
  });
}

// Only where there are quotas: no other agent needs a disk that syncs.
std::string EmbeddedServer::open_store(const ServerRules& rules) {
  if (store_ || !rules.has_quotas()) return {};
  std::error_code ignored;
  std::filesystem::create_directories(rules.state_dir, ignored);  // what is wrong shows below
  std::unique_ptr<server::SqliteStore> store;
  server::SqliteOptions options = server::store_options(rules);
  options.post = [this](std::function<void()> call) { asio::post(io_, std::move(call)); };
  if (std::string error = server::SqliteStore::open(std::move(options), store); !error.empty())
    return "the quotas' store: " + error;
  store_ = std::move(store);
  spdlog::info("quotas: {}", store_->stats().durability);
  server_->use_store(*store_, *store_);
  return {};
}

void EmbeddedServer::take_status() {
  auto status = std::make_shared<const server::ServerStatus>(server_->status());
  const std::lock_guard lock(mutex_);
  status_ = std::move(status);
}

void EmbeddedServer::refresh() {
  auto timer = std::make_shared<asio::steady_timer>(io_, kStatusEvery);
  timer->async_wait([this, timer](const boost::system::error_code& error) {
    if (error) return;
    take_status();
    refresh();
  });
}

std::shared_ptr<const server::ServerStatus> EmbeddedServer::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

void EmbeddedServer::stop() {
  if (!thread_.joinable()) return;
  asio::post(io_, [this] {
    server_->stop();
    end_when_drained(kStopPollsMax);
  });
  thread_.join();
  server_.reset();
  store_.reset();  // writes what waits
}

void EmbeddedServer::end_when_drained(int polls_left) {
  if (polls_left == 0 || server_->drained()) return io_.stop();
  auto timer = std::make_shared<asio::steady_timer>(io_, kStopPoll);
  timer->async_wait([this, timer, polls_left](const boost::system::error_code&) {
    end_when_drained(polls_left - 1);
  });
}

}  // namespace weir::agent
