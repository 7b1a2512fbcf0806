// A book and some desks in one process, with time and messages in the test's hands: what the
// hosts admit, what they hold, and a message at a time.
#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lease/book.h"
#include "lease/desk.h"

namespace weir::lease::test {

inline LimitConfig limit_of(const std::string& name, std::int64_t rate, std::int64_t burst) {
  LimitConfig config;
  config.name = name;
  config.rate = rate * kToken;
  config.burst = burst * kToken;
  return config;
}

// A host with one bucket for each limit, minted as the agent does it: never back-dated, clipped
// to the burst, cut at once when the burst is lowered.
struct Host {
  struct Bucket {
    Micro level = 0;
    TimeNs minted_ns = 0;
    LeaseView view;
    double arrivals_per_s = 0;
    double due = 0;
    std::uint64_t spent = 0, refused = 0, minted = 0, need = 0;
  };
  explicit Host(const std::string& name, std::uint64_t seed)
      : desk([&] {
          DeskOptions options;
          options.host = name;
          options.seed = seed;
          return options;
        }()) {}

  Desk desk;
  std::vector<Bucket> buckets;
  bool up = false;

  void mint(TimeNs now_ns) {
    for (Bucket& bucket : buckets) {
      const bool tail = bucket.view.state == LeaseState::tail;
      const Micro rate = tail ? bucket.view.tail_rate : bucket.view.rate;
      const Micro burst = tail ? bucket.view.tail_burst : bucket.view.burst;
      const Micro before = bucket.level;
      bucket.level =
          std::min(burst, bucket.level + weir::lease::minted(rate, now_ns - bucket.minted_ns));
      if (bucket.level > before) bucket.minted += static_cast<std::uint64_t>(bucket.level - before);
      bucket.minted_ns = now_ns;
    }
  }
  void put_in_force(TimeNs now_ns) {
    mint(now_ns);
    for (const Change& change : desk.take_changes()) {
      Bucket& bucket = buckets[change.slot];
      bucket.view = desk.view(change.slot);
      const bool tail = bucket.view.state == LeaseState::tail;
      const Micro burst = tail ? bucket.view.tail_burst : bucket.view.burst;
      bucket.level = std::min(burst, bucket.level + change.fill);
      bucket.minted += static_cast<std::uint64_t>(change.fill);
      if (change.drain) {
        const auto whole = static_cast<std::uint64_t>(bucket.level / kToken);
        bucket.level = 0;
        desk.drained(change.slot, whole, now_ns);
      }
    }
  }
  // Even arrivals up to now, since `step` ago; the tokens that were admitted.
  std::uint64_t arrive(TimeNs step_ns) {
    std::uint64_t admitted = 0;
    for (Bucket& bucket : buckets) {
      bucket.due += bucket.arrivals_per_s * static_cast<double>(step_ns) / 1e9;
      for (; bucket.due >= 1; bucket.due -= 1) {
        if (bucket.level >= kToken) {
          bucket.level -= kToken;
          ++bucket.spent;
          ++admitted;
        } else {
          ++bucket.refused;
          bucket.need = 1;
        }
      }
    }
    return admitted;
  }
  void observe(TimeNs now_ns) {
    for (std::uint32_t slot = 0; slot < buckets.size(); ++slot) {
      Bucket& bucket = buckets[slot];
      desk.observe(slot,
                   {bucket.spent, bucket.refused, bucket.minted / 1'000'000,
                    static_cast<std::uint64_t>(bucket.level / kToken), bucket.need},
                   now_ns);
      bucket.need = 0;
    }
  }
};

struct Cluster {
  explicit Cluster(std::vector<LimitConfig> limits, std::size_t hosts, bool learn = false)
      : configs(std::move(limits)) {
    BookOptions options;
    options.learn = learn;
    book = std::make_unique<Book>(options, now);
    std::string why;
    ok = book->set_limits(configs, now, why);
    for (std::size_t i = 0; i < hosts; ++i)
      add_host("h" + std::to_string(i));
  }
  Host& add_host(const std::string& name) {
    all.push_back(std::make_unique<Host>(name, all.size() + 7));
    Host& host = *all.back();
    host.buckets.resize(configs.size());
    for (std::uint32_t slot = 0; slot < configs.size(); ++slot) {
      host.buckets[slot].minted_ns = now;
      host.desk.add_limit(slot, configs[slot].name, now);
    }
    return host;
  }
  void deliver(std::function<void()> message) { queue.push_back({now + delay, message}); }

  void talk(Host& host) {
    if (!host.up) return;
    host.desk.withdraw(now);
    host.put_in_force(now);
    if (const auto hello = host.desk.next_hello(now)) say_hello(host, *hello);
    if (const Request* request = host.desk.next_request(now)) {
      host.put_in_force(now);
      deliver([this, &host, copy = *request] {
        const Answer* answer = book->request(copy, now);
        ++requests;
        if (answer == nullptr) return;
        deliver([this, &host, reply = *answer] {
          if (!host.up) return;
          const auto ack = host.desk.on_answer(reply, now);
          host.put_in_force(now);
          if (ack) deliver([this, sent = *ack] { book->ack(sent, now); });
        });
      });
    }
  }
  void say_hello(Host& host, const Hello& hello) {
    deliver([this, &host, hello] {
      const auto greeting = book->hello(hello, now);
      if (!greeting) return;
      deliver([this, &host, welcome = greeting->welcome] {
        const Desk::Reply reply = host.desk.on_welcome(welcome, now);
        host.put_in_force(now);
        if (reply == Desk::Reply::hello_again) say_hello(host, host.desk.connected(now));
      });
    });
  }
  void connect(Host& host) {
    host.up = true;
    const Hello hello = host.desk.connected(now);
    host.put_in_force(now);
    say_hello(host, hello);
  }

  // A millisecond.
  void step() {
    now += kMs;
    while (!queue.empty() && queue.front().first <= now) {
      const auto message = queue.front().second;
      queue.pop_front();
      message();
    }
    if (now / kMs % 10 == 0) {
      book->poll(now, due);
      for (const SessionId session : due.poke)
        deliver([this, session] {
          for (auto& host : all)
            if (host->up) host->desk.on_poke({session}, now);
        });
    }
    for (auto& host : all) {
      host->desk.withdraw(now);
      host->put_in_force(now);
      admitted += host->arrive(kMs);
      if (now / kMs % 50 == 0) host->observe(now);
      talk(*host);
    }
    check();
  }
  void run(TimeNs for_ns) {
    for (const TimeNs end = now + for_ns; now < end;)
      step();
  }
  // What hosts hold and the server mints, at this instant.
  void check() {
    for (std::uint32_t slot = 0; slot < configs.size(); ++slot) {
      const auto [rate, burst] = book->counted(limit_id(configs[slot].name));
      Micro held_rate = 0, held_burst = 0;
      for (auto& host : all) {
        const LeaseView& view = host->buckets[slot].view;
        const bool tail = view.state == LeaseState::tail;
        held_rate += tail ? view.tail_rate : view.rate;
        held_burst += tail ? view.tail_burst : view.burst;
      }
      worst_rate = std::max(worst_rate, std::max(rate, held_rate) - configs[slot].rate);
      worst_burst = std::max(worst_burst, std::max(burst, held_burst) - configs[slot].burst);
    }
  }

  std::vector<LimitConfig> configs;
  TimeNs now = 1000 * kSecond;
  TimeNs delay = kMs / 2;
  std::unique_ptr<Book> book;
  std::vector<std::unique_ptr<Host>> all;
  std::deque<std::pair<TimeNs, std::function<void()>>> queue;
  Book::Due due;
  std::uint64_t admitted = 0, requests = 0;
  Micro worst_rate = -kMicroMax, worst_burst = -kMicroMax;
  bool ok = false;
};

}  // namespace weir::lease::test
