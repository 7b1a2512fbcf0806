// A cluster in one thread: hosts with real domains and upstreams, and a real lease book as their
// server, on a clock of the test's own. What is said takes no time, unless the test holds it back.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "agent/upstream/upstream.h"
#include "lease/book.h"
#include "shm/bucket.h"

namespace weir::agent::test {

inline constexpr std::int64_t kTestMs = 1'000'000;
inline constexpr std::int64_t kTestSecond = 1'000'000'000;

struct Times {
  std::int64_t boot = 5'000 * kTestSecond;
  std::int64_t mono = 3'000 * kTestSecond;
  void pass(std::int64_t ns) {
    boot += ns;
    mono += ns;
  }
};

inline LimitRule cluster_limit(const std::string& name, std::uint64_t rate = 300,
                               std::uint64_t burst = 300) {
  LimitRule rule;
  rule.name = name;
  rule.amount = rule.fallback.amount = rate;
  rule.period_ns = rule.fallback.period_ns = static_cast<std::uint64_t>(kTestSecond);
  rule.burst = rule.fallback.burst = burst;
  rule.fallback.divided = true;
  rule.scope = LimitScope::cluster;
  return rule;
}

using ToServer = std::variant<lease::Hello, lease::Request, lease::Ack, lease::Goodbye>;

// What a host says goes into a queue that the test empties.
class Script : public Speaker {
 public:
  void say(const lease::Hello& hello) override { said.emplace_back(hello); }
  void say(const lease::Request& request) override { said.emplace_back(request); }
  void say(const lease::Ack& ack) override { said.emplace_back(ack); }
  void say(const lease::Goodbye& goodbye) override { said.emplace_back(goodbye); }
  void go_elsewhere(const std::string& why) override { elsewhere.push_back(why); }

  std::deque<ToServer> said;
  std::vector<std::string> elsewhere;
};

class Host {
 public:
  Host(Times& times, const std::string& name, std::vector<LimitRule> limits,
       const std::string& file = "", Inherited inherited = {}, std::uint32_t hosts = 3)
      : times_(times) {
    DomainOptions options;
    options.limits_max = 64;
    options.clients_max = 4;
    options.cpus = 2;
    rule_.name = "default";
    auto made =
        Domain::make(rule_, options, {[this] { return times_.mono; }, [] { return 1'700'000'000; }},
                     1, std::move(inherited));
    EXPECT_TRUE(made);
    domain = std::move(*made);
    UpstreamOptions upstream_options;
    upstream_options.host = name;
    upstream_options.agent_epoch = std::hash<std::string>{}(name) + 1 + ++made_;
    upstream_options.seed = upstream_options.agent_epoch;
    upstream_options.boot_id = "boot";
    upstream_options.leases_file = file;
    upstream = std::make_unique<Upstream>(
        upstream_options,
        UpstreamClocks{[this] { return times_.boot; }, [this] { return times_.mono; }}, script);
    domain->set_lease_source([this](const LimitRule& rule) { return upstream->terms_of(rule); });
    if (domain->adopted())
      upstream->restore(domain->counters_id());
    else
      upstream->forget(domain->counters_id());
    publish(std::move(limits), hosts);
  }

  void publish(std::vector<LimitRule> limits, std::uint32_t hosts = 0) {
    upstream->set_limits(limits, hosts);
    rule_.limits = std::move(limits);
    EXPECT_TRUE(domain->publish(rule_));
    upstream->bind(*domain);
  }
  void tick() {
    upstream->tick();
    (void)domain->tick();
    upstream->look();
  }
  std::uint32_t slot(const std::string& name) const {
    return static_cast<std::uint32_t>(domain->slot_of(name));
  }
  bool take(const std::string& name, std::uint64_t n = 1) {
    const std::uint32_t index = slot(name);
    shm::CounterSlot& counter = domain->counters().slot(index);
    const bool ok = (n == 1 ? spend_one(counter) : spend_many(counter, n, 0)) == shm::Spend::ok;
    if (!ok) {
      domain->counters().lane(index).fetch_add(1);
      if (n > 1) domain->counters().lane(index, shm::kLaneExtra).fetch_add(n - 1);
      if (domain->rules().live(index).rings != 0) domain->minter().attend(index);
    }
    return ok;
  }
  std::uint64_t take_all(const std::string& name) {
    return spend_up_to(domain->counters().slot(slot(name)), shm::kBurstMax);
  }
  std::uint64_t level(const std::string& name) const {
    return bucket_level(domain->counters().slot(slot(name)));
  }
  shm::RuleCopy rule(const std::string& name) const {
    shm::RuleCopy copy;
    EXPECT_TRUE(shm::copy_rule(domain->rules().view(), slot(name), copy));
    return copy;
  }
  lease::LeaseView lease(const std::string& name) const { return upstream->view_of(name)->lease; }

  Script script;
  std::unique_ptr<Domain> domain;
  std::unique_ptr<Upstream> upstream;

 private:
  Times& times_;
  DomainRule rule_;
  static inline std::uint64_t made_ = 0;
};

class Cluster {
 public:
  explicit Cluster(std::vector<LimitRule> limits, bool learn = false) : limits_(std::move(limits)) {
    start_server(learn);
  }

  void start_server(bool learn = false, std::vector<lease::Identity> known = {}) {
    lease::BookOptions options;
    options.epoch = ++epoch_;
    options.learn = learn;
    options.known = std::move(known);
    book = std::make_unique<lease::Book>(options, times.boot);
    std::vector<lease::LimitConfig> configs;
    for (const LimitRule& rule : limits_) {
      lease::LimitConfig config;
      config.name = rule.name;
      config.rate = static_cast<lease::Micro>(rule.amount) * lease::kToken;
      config.burst = static_cast<lease::Micro>(rule.burst) * lease::kToken;
      configs.push_back(config);
    }
    std::string why;
    EXPECT_TRUE(book->set_limits(configs, times.boot, why)) << why;
  }
  // kill -9: every connection ends.
  void kill_server() {
    book.reset();
    for (auto& host : hosts) {
      host->script.said.clear();
      host->upstream->on_closed();
    }
  }
  Host& add(const std::string& name) {
    hosts.push_back(std::make_unique<Host>(times, name, limits_));
    return *hosts.back();
  }
  void connect(Host& host) { host.upstream->on_open(); }

  // Carries what hosts say to the book and its answers back.
  void deliver() {
    if (!book) return;
    for (auto& host : hosts)
      while (!host->script.said.empty()) {
        const ToServer message = std::move(host->script.said.front());
        host->script.said.pop_front();
        if (silent) continue;
        std::visit([&](const auto& each) { hear(*host, each); }, message);
      }
    if (silent) return;
    book->poll(times.boot, due_);
    for (const lease::SessionId session : due_.poke)
      for (auto& host : hosts)
        if (host->upstream->desk().session() == session) host->upstream->on_poke({session});
  }
  // One millisecond of everybody's life; `each` is called first, for the demand.
  void pass(std::int64_t ms, const std::function<void()>& each = {}) {
    for (std::int64_t i = 0; i < ms; ++i) {
      times.pass(kTestMs);
      if (each) each();
      for (auto& host : hosts)
        host->tick();
      deliver();
      // Answers may have come: so may what they led to.
      deliver();
    }
  }

  Times times;
  std::unique_ptr<lease::Book> book;
  std::vector<std::unique_ptr<Host>> hosts;
  bool silent = false;  // the server hears nothing

 private:
  void hear(Host& host, const lease::Hello& hello) {
    if (const auto greeting = book->hello(hello, times.boot))
      host.upstream->on_welcome(greeting->welcome);
  }
  void hear(Host& host, const lease::Request& request) {
    if (const lease::Answer* answer = book->request(request, times.boot)) {
      const lease::Answer copy = *answer;
      host.upstream->on_answer(copy);
    } else if (!book->knows(request.session)) {
      // As the server does it: the connection ends, and a hello begins anew.
      host.upstream->on_closed();
      host.upstream->on_open();
    }
  }
  void hear(Host&, const lease::Ack& ack) { book->ack(ack, times.boot); }
  void hear(Host&, const lease::Goodbye& goodbye) { book->goodbye(goodbye, times.boot); }

  std::vector<LimitRule> limits_;
  std::uint64_t epoch_ = 0;
  lease::Book::Due due_;
};

// Calls at a steady pace, with fractions kept.
class Pace {
 public:
  Pace(Host& host, std::string limit, double per_s)
      : host_(host), limit_(std::move(limit)), per_s_(per_s) {}
  void ms() {
    due_ += per_s_ / 1000;
    for (; due_ >= 1; due_ -= 1) {
      ++asked;
      if (host_.take(limit_)) ++admitted;
    }
  }
  void reset() { asked = admitted = 0; }
  std::uint64_t asked = 0, admitted = 0;

 private:
  Host& host_;
  std::string limit_;
  double per_s_;
  double due_ = 0;
};

}  // namespace weir::agent::test
