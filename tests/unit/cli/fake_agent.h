// An admin socket with canned answers, and the program run against it.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <clocale>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "agent/cli/app.h"
#include "net/frame.h"

namespace weir::cli {

class TemporaryDir {
 public:
  TemporaryDir() {
    char pattern[] = "/tmp/weir-cli-test-XXXXXX";
    path_ = ::mkdtemp(pattern);
  }
  ~TemporaryDir() {
    const std::string command = "rm -rf " + path_;
    if (std::system(command.c_str()) != 0) std::abort();
  }
  TemporaryDir(const TemporaryDir&) = delete;
  TemporaryDir& operator=(const TemporaryDir&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline v1::LimitStatus make_limit(const std::string& name, double spent_per_s = 0,
                                  double refused_per_s = 0) {
  v1::LimitStatus limit;
  limit.set_domain("default");
  limit.set_name(name);
  limit.set_algorithm("token_bucket");
  limit.set_amount(300);
  limit.set_period_ns(1'000'000'000);
  limit.set_burst(600);
  limit.set_rate_text("300/s");
  limit.set_fallback("local");
  limit.set_level(450);
  limit.set_spent_per_s(spent_per_s);
  limit.set_refused_per_s(refused_per_s);
  limit.set_line(7);
  return limit;
}

inline v1::StatusResponse make_status() {
  v1::StatusResponse status;
  status.set_version("0.1.0");
  status.set_pid(4711);
  status.set_agent_epoch(UINT64_MAX);
  status.set_uptime_ms(3'723'000);
  status.set_runtime_dir("/run/weir");
  status.set_rules_file("/etc/weir/rules.yaml");
  status.set_rules_generation(3);
  status.set_rules_loaded_ms_ago(5000);
  status.set_tick_us(1000);
  status.set_ticks_total(1'000'000);
  status.set_ticks_late_total(12);
  status.set_tick_p50_ns(3100);
  status.set_tick_p99_ns(21'000);
  status.set_http_address("127.0.0.1:9464");
  auto* domain = status.add_domains();
  domain->set_name("default");
  domain->set_socket("/run/weir/agent.sock");
  domain->set_limits(2);
  domain->set_clients(5);
  domain->set_rules_bytes(1 << 20);
  domain->set_counters_bytes(1 << 20);
  status.mutable_cpu()->set_source("cgroup_v2");
  status.mutable_cpu()->set_smoothed_permille(125);
  status.mutable_cpu()->set_capacity_millicpus(2000);
  return status;
}

// What the agent answers; a test changes it before it starts to ask.
struct Answers {
  v1::StatusResponse status = make_status();
  std::vector<v1::LimitStatus> limits{make_limit("/api/order", 120, 3), make_limit("/api/pay")};
  std::vector<v1::ClientStatus> clients;
  v1::ApplyResponse apply;
  v1::ResourcesResponse resources;
  v1::QuotasResponse quotas;
  std::vector<v1::ClusterReport> cluster;  // pages; the token of each is its number
  std::string force_text;
  std::string error;
};

class FakeAgent {
 public:
  explicit FakeAgent(Answers answers = {}) : answers_(std::move(answers)) {
    const std::string path = dir_.path() + "/admin.sock";
    listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    if (::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
        ::listen(listener_, 8) != 0)
      std::abort();
    thread_ = std::thread{[this] { serve(); }};
  }
  ~FakeAgent() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  FakeAgent(const FakeAgent&) = delete;
  FakeAgent& operator=(const FakeAgent&) = delete;

  const std::string& dir() const { return dir_.path(); }
  std::vector<v1::AdminRequest> requests() {
    const std::lock_guard lock{mutex_};
    return requests_;
  }

 private:
  void serve() {
    while (true) {
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      serve_connection(fd);
      ::close(fd);
    }
  }

  void serve_connection(int fd) {
    net::FrameReader reader;
    std::string chunk(net::kReadChunkBytes, '\0');
    while (true) {
      const ssize_t n = ::read(fd, chunk.data(), chunk.size());
      if (n <= 0) return;
      reader.push({chunk.data(), static_cast<std::size_t>(n)});
      while (const auto payload = reader.next()) {
        v1::AdminRequest request;
        if (!net::decode_payload(*payload, request)) return;
        const std::string frame = net::encode_frame(answer(request));
        if (::send(fd, frame.data(), frame.size(), MSG_NOSIGNAL) < 0) return;
      }
    }
  }

  v1::AdminResponse answer(const v1::AdminRequest& request) {
    const std::lock_guard lock{mutex_};
    requests_.push_back(request);
    v1::AdminResponse response;
    response.set_error(answers_.error);
    if (request.has_status()) *response.mutable_status() = answers_.status;
    if (request.has_clients()) {
      response.mutable_clients();
      for (const auto& client : answers_.clients)
        *response.mutable_clients()->add_clients() = client;
    }
    if (request.has_resources()) {
      *response.mutable_resources() = answers_.resources;
      auto& list = *response.mutable_resources()->mutable_resources();
      for (int i = list.size(); !request.resources().name().empty() && i-- > 0;)
        if (list[i].name() != request.resources().name()) list.DeleteSubrange(i, 1);
    }
    if (request.has_quotas()) {
      *response.mutable_quotas() = answers_.quotas;
      auto& list = *response.mutable_quotas()->mutable_list();
      for (int i = list.size(); !request.quotas().quota().empty() && i-- > 0;)
        if (list[i].quota() != request.quotas().quota()) list.DeleteSubrange(i, 1);
    }
    if (request.has_cluster()) {
      const std::string& page = request.cluster().page_token();
      *response.mutable_cluster() = answers_.cluster.at(page.empty() ? 0 : std::stoul(page));
    }
    if (request.has_force_breaker() || request.has_force_level())
      response.mutable_force()->set_text(answers_.force_text);
    if (request.has_apply()) *response.mutable_apply() = answers_.apply;
    if (!request.has_limits()) return response;
    response.mutable_limits();
    for (const auto& limit : answers_.limits)
      if ((request.limits().name().empty() || request.limits().name() == limit.name()) &&
          (request.limits().domain().empty() || request.limits().domain() == limit.domain()))
        *response.mutable_limits()->add_limits() = limit;
    return response;
  }

  TemporaryDir dir_;
  int listener_ = -1;
  Answers answers_;
  std::mutex mutex_;
  std::vector<v1::AdminRequest> requests_;
  std::thread thread_;
};

struct Ran {
  int exit_code = -1;
  std::string out;
  std::string err;
  std::vector<std::string> command;  // that take would have started
};

// The program with a runtime directory, no environment and no terminal.
inline Ran run(const std::string& dir, std::vector<std::string> arguments, bool utf8 = true) {
  std::setlocale(LC_CTYPE, "C.utf8");
  std::ostringstream out;
  std::ostringstream err;
  Ran ran;
  if (!dir.empty()) arguments.insert(arguments.begin(), {"--runtime-dir", dir});
  const Host host{out,
                  err,
                  [](const char*) -> const char* { return nullptr; },
                  false,
                  {utf8},
                  [&ran](const Context&, const std::vector<std::string>& command) {
                    ran.command = command;
                    return 7;
                  }};
  ran.exit_code = run_program(std::move(arguments), host);
  ran.out = out.str();
  ran.err = err.str();
  return ran;
}

}  // namespace weir::cli
