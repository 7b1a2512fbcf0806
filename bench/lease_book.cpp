// A book with many hosts against one with few, in turns. Time is a number here, so nothing waits:
// what is measured is the work of request() and ack(), and of the calls of poll() between them,
// which bring the new wants into the division.
#include <time.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "bench/lease_bench.h"
#include "lease/book.h"
#include "lease/random.h"

namespace weir::bench {
namespace {

using lease::Book;
using lease::kSecond;
using lease::kToken;

constexpr int kLimits = 100;
constexpr std::size_t kFew = 100;
constexpr std::size_t kMany = 10'000;
constexpr std::size_t kSlice = 2'000;  // heartbeats; of many hosts some rounds of poll(), too

std::int64_t cpu_ns() {
  struct timespec now {};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::int64_t{now.tv_sec} * kSecond + now.tv_nsec;
}

double median(std::vector<double> values, double which = 0.5) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(which * static_cast<double>(values.size() - 1))];
}

// Hosts that come in turn, each once a refresh, and want a little more or less each time.
class Cluster {
 public:
  explicit Cluster(std::size_t hosts) : book_(options(), 0), hosts_(hosts) {
    std::vector<lease::LimitConfig> limits;
    for (int i = 0; i < kLimits; ++i) {
      lease::LimitConfig limit;
      limit.name = "limit-" + std::to_string(i);
      limit.rate = static_cast<lease::Micro>(hosts) * 50 * kToken;
      limit.burst = limit.rate;
      limits.push_back(std::move(limit));
      ids_.push_back(lease::limit_id(limits.back().name));
    }
    std::string why;
    good_ = book_.set_limits(limits, 0, why);
    for (std::size_t i = 0; i < hosts; ++i) {
      lease::Hello hello;
      hello.host = "host-" + std::to_string(i);
      hello.agent_epoch = i + 1;
      hello.hello_no = 1;
      const auto greeting = book_.hello(hello, now_);
      good_ = good_ && greeting.has_value();
      if (!greeting) return;
      host_[i].session = greeting->welcome.session;
    }
  }
  bool good() const { return good_; }

  struct Cost {  // CPU time of a heartbeat, in nanoseconds
    double all = 0, request = 0;
  };
  Cost heartbeats(std::size_t count) {
    std::int64_t spent = 0;
    std::int64_t polled = 0;
    for (std::size_t i = 0; i < count; ++i) {
      Host& host = host_[next_];
      next_ = (next_ + 1) % hosts_;
      compose(host);
      now_ += book_.refresh_ns() / static_cast<std::int64_t>(hosts_);
      const std::int64_t start = cpu_ns();
      const lease::Answer* answer = book_.request(request_, now_);
      good_ = good_ && answer != nullptr;
      if (answer != nullptr) {
        host.accepted_seq = answer->seq;
        book_.ack({host.session, answer->seq}, now_);
      }
      spent += cpu_ns() - start;
      if (now_ >= next_poll_) {
        next_poll_ = now_ + Book::kPollNs;
        const std::int64_t poll_start = cpu_ns();
        book_.poll(now_, due_);
        polled += cpu_ns() - poll_start;
      }
    }
    const auto each = static_cast<double>(count);
    return {static_cast<double>(spent + polled) / each, static_cast<double>(spent) / each};
  }
  std::size_t hosts() const { return hosts_; }

 private:
  struct Host {
    lease::SessionId session = 0;
    std::uint64_t seq = 0;
    std::uint64_t accepted_seq = 0;
    std::uint64_t spent = 0;
  };
  static lease::BookOptions options() {
    lease::BookOptions options;
    options.learn = false;
    return options;
  }
  void compose(Host& host) {
    request_.session = host.session;
    request_.seq = ++host.seq;
    request_.accepted_seq = host.accepted_seq;
    request_.wants.resize(kLimits);
    host.spent += 60;
    for (std::size_t i = 0; i < kLimits; ++i) {
      lease::Want& want = request_.wants[i];
      want = {};
      want.limit = ids_[i];
      // Hardly two hosts want exactly the same.
      want.rate = 60 * kToken + random_.between(-3 * kToken, 3 * kToken);
      want.keep_rate = want.keep_burst = lease::kMicroMax;
      want.spent_total = host.spent;
    }
  }

  Book book_;
  std::size_t hosts_;
  std::vector<Host> host_{hosts_ == 0 ? 1 : hosts_};
  std::vector<lease::LimitId> ids_;
  lease::Request request_;
  Book::Due due_;
  lease::Random random_{7};
  std::size_t next_ = 0;
  lease::TimeNs now_ = kSecond;
  lease::TimeNs next_poll_ = 0;
  bool good_ = true;
};

}  // namespace

std::optional<LeaseRow> measure_lease_book(bool quick) {
  Cluster few(kFew);
  Cluster many(kMany);
  few.heartbeats(3 * kFew);
  many.heartbeats(3 * kMany);
  std::vector<double> few_ns, many_ns, ratios, few_request_ns, many_request_ns;
  const int rounds = quick ? 21 : 101;
  for (int i = 0; i < rounds; ++i) {
    const bool first = i % 2 == 0;
    Cluster::Cost a;
    if (first) a = few.heartbeats(kSlice);
    const Cluster::Cost b = many.heartbeats(kSlice);
    if (!first) a = few.heartbeats(kSlice);
    few_ns.push_back(a.all);
    many_ns.push_back(b.all);
    ratios.push_back(b.all / a.all);
    few_request_ns.push_back(a.request);
    many_request_ns.push_back(b.request);
  }
  if (!few.good() || !many.good()) {
    std::fprintf(stderr, "bench: the book answered nothing\n");
    return std::nullopt;
  }
  LeaseRow row;
  row.name = "lease_heartbeat/10000h";
  row.floor = "lease_heartbeat/100h";
  row.ns_median = median(many_ns);
  row.floor_ns_median = median(few_ns);
  row.ratio = median(ratios);
  row.ratio_p10 = median(ratios, 0.1);
  row.ratio_p90 = median(ratios, 0.9);
  row.bar = 2;
  row.more_is_better = false;
  char note[96];
  std::snprintf(note, sizeof(note), "without poll(): %.0f ns against %.0f ns",
                median(many_request_ns), median(few_request_ns));
  row.note = note;
  return row;
}

}  // namespace weir::bench
