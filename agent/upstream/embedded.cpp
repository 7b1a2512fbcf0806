#include "agent/upstream/embedded.h"

#include <spdlog/spdlog.h>
#include <sys/prctl.h>

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <csignal>
#include <future>

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
    std::string wrong = server_->apply(rules);
    asio::post(owner_, [wrong = std::move(wrong), done] { done(wrong); });
  });
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
}

void EmbeddedServer::end_when_drained(int polls_left) {
  if (polls_left == 0 || server_->drained()) return io_.stop();
  auto timer = std::make_shared<asio::steady_timer>(io_, kStopPoll);
  timer->async_wait([this, timer, polls_left](const boost::system::error_code&) {
    end_when_drained(polls_left - 1);
  });
}

}  // namespace weir::agent
