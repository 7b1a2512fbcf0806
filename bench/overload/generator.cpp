#include "bench/overload/generator.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <vector>

#include "bench/overload/gate.h"
#include "bench/overload/wire.h"
#include "lease/random.h"

namespace weir::bench {
namespace {

constexpr TimeNs kReconnectNs = 20 * kMs;
constexpr double kWorkMostTimes = 20.0;  // of the mean; one draw in half a milliard is cut
constexpr int kClosedLoopEach = 4;       // in flight, of each process, while capacity is measured
constexpr TimeNs kClosedWarmNs = kSecond / 2;
constexpr TimeNs kSlotNs = 100 * kMs;

class Generator {
 public:
  Generator(const CellSpec& spec, const std::string& dir, CellShared& shared)
      : spec_(spec),
        dir_(dir),
        result_(shared.result),
        random_(lease::mix(spec.seed, 0x67656eULL)),
        measures_(scenario(spec)),
        peers_(static_cast<std::size_t>(spec.processes)) {}

  void run_open() {
    begun_ns_ = mono_ns();
    connect_all();
    const TimeNs end_ns = spec_.before_ns + spec_.during_ns + spec_.after_ns;
    TimeNs due_ns = gap();
    for (TimeNs now_ns = 0; now_ns < end_ns; now_ns = now()) {
      for (; due_ns <= now_ns && due_ns < end_ns; due_ns += gap())
        send_one(due_ns);
      lose_patience(now_ns);
      wait(std::min({due_ns, end_ns, patience_.empty() ? end_ns : patience_.front().until_ns}));
      read_all();
    }
    finish();
  }

  // So many at once in each process and never more, to learn what the server can do.
  void run_closed() {
    begun_ns_ = mono_ns();
    connect_all();
    for (std::size_t i = 0; i < peers_.size() * kClosedLoopEach; ++i)
      send_to(i % peers_.size(), now());
    closed_ = true;
    const TimeNs end_ns = kClosedWarmNs + spec_.during_ns;
    while (now() < end_ns) {
      wait(end_ns);
      read_all();
    }
    const double span_ns = static_cast<double>(spec_.during_ns);
    result_.capacity_share = closed_work_ns_ / span_ns;
    result_.capacity_per_second = result_.capacity_share * 1e9 / static_cast<double>(spec_.work_ns);
    result_.whole = true;
  }

 private:
  struct Peer {
    int fd = -1;
    TimeNs retry_ns = 0;
  };
  struct Asked {
    TimeNs intended_ns = 0;
    std::uint32_t work_ns = 0;
    std::uint8_t criticality = 0;
    std::uint8_t peer = 0;
    bool open = false;
  };
  struct Patience {
    TimeNs until_ns = 0;
    std::uint64_t id = 0;
  };

  static overload::Scenario scenario(const CellSpec& spec) {
    overload::Scenario scenario;
    scenario.cores = 1;
    if (spec.capacity_per_second > 0.0)
      scenario.work_ns = static_cast<TimeNs>(1e9 / spec.capacity_per_second);
    scenario.refuse_ns = 0;  // what a refusal costs the server is measured, not assumed
    scenario.load = spec.load;
    scenario.base_load = spec.base_load;
    scenario.deadline_ns = spec.deadline_ns;
    scenario.patience_ns = spec.patience_ns;
    scenario.before_ns = spec.before_ns;
    scenario.during_ns = spec.during_ns;
    scenario.after_ns = spec.after_ns;
    scenario.settled_ns = spec.settled_ns;
    return scenario;
  }

  TimeNs now() const { return mono_ns() - begun_ns_; }

  double draw() { return -std::log1p(-random_.unit()); }

  // To the next request. A step of the load takes effect with the one after it.
  TimeNs gap() {
    const TimeNs at_ns = last_due_ns_;
    const bool high = at_ns >= spec_.before_ns && at_ns < spec_.before_ns + spec_.during_ns;
    const double rate = (high ? spec_.load : spec_.base_load) * spec_.capacity_per_second;
    const auto gap_ns = std::max<TimeNs>(1, static_cast<TimeNs>(draw() * 1e9 / rate));
    last_due_ns_ += gap_ns;
    return gap_ns;
  }

  std::uint8_t draw_class() {
    double left = random_.unit();
    for (std::uint8_t i = 0; i < adaptive::kClasses; ++i) {
      left -= spec_.mix[i];
      if (left < 0.0) return i;
    }
    return adaptive::kClasses - 1;
  }

  void connect_all() {
    for (std::size_t i = 0; i < peers_.size(); ++i)
      connect(i);
  }

  void connect(std::size_t index) {
    Peer& peer = peers_[index];
    peer.retry_ns = now() + kReconnectNs;
    const int fd = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un at {};
    at.sun_family = AF_UNIX;
    const std::string path = server_path(dir_, static_cast<int>(index));
    std::strncpy(at.sun_path, path.c_str(), sizeof(at.sun_path) - 1);
    if (fd < 0) return;
    if (::connect(fd, reinterpret_cast<const struct sockaddr*>(&at), sizeof(at)) != 0) {
      ::close(fd);
      return;
    }
    const int bytes = 4 << 20;
    (void)::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    (void)::setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
    peer.fd = fd;
  }

  // The balancer in front spreads at random over the processes that are there.
  void send_one(TimeNs due_ns) {
    const auto count = static_cast<std::int64_t>(peers_.size());
    auto at = static_cast<std::size_t>(random_.between(0, count - 1));
    for (std::size_t tried = 0; tried < peers_.size() && peers_[at].fd < 0; ++tried)
      at = (at + 1) % peers_.size();
    send_to(at, due_ns);
  }

  void send_to(std::size_t at, TimeNs due_ns) {
    const double mean = static_cast<double>(spec_.work_ns);
    Asked asked{due_ns, static_cast<std::uint32_t>(std::min(draw(), kWorkMostTimes) * mean),
                draw_class(), static_cast<std::uint8_t>(at), true};
    const std::uint64_t id = asked_.size();
    measures_.asked(due_ns, asked.criticality, asked.work_ns);
    count(due_ns, &TimelineSlot::asked);
    ++result_.sent;
    const Request request{id, begun_ns_ + due_ns, asked.work_ns, asked.criticality};
    lags_ns_.push_back(now() - due_ns);
    asked.open = peers_[at].fd >= 0 &&
                 ::send(peers_[at].fd, &request, sizeof(request), MSG_NOSIGNAL) == sizeof(request);
    asked_.push_back(asked);
    if (!asked.open) return lose(asked_.back());
    patience_.push_back({due_ns + spec_.patience_ns, id});
  }

  void lose(Asked& asked) {
    asked.open = false;
    ++result_.lost;
    end(asked, now(), false);
  }

  void end(const Asked& asked, TimeNs now_ns, bool answered) {
    measures_.ended(now_ns, asked.intended_ns, asked.criticality, answered);
    count(now_ns, &TimelineSlot::ended);
    if (!answered || now_ns - asked.intended_ns > spec_.deadline_ns) return;
    count(now_ns, &TimelineSlot::good);
    const TimeNs settled_ns = spec_.before_ns + spec_.settled_ns;
    if (now_ns >= settled_ns && now_ns < spec_.before_ns + spec_.during_ns)
      good_work_ns_ += static_cast<double>(asked.work_ns);
  }

  void count(TimeNs at_ns, std::uint32_t TimelineSlot::*field) {
    const auto slot = static_cast<std::size_t>(at_ns / kSlotNs);
    if (slot >= kTimelineMax) return;
    ++(result_.timeline[slot].*field);
    result_.timeline_count = std::max(result_.timeline_count, slot + 1);
  }

  void lose_patience(TimeNs now_ns) {
    for (; !patience_.empty() && patience_.front().until_ns <= now_ns; patience_.pop_front()) {
      Asked& asked = asked_[patience_.front().id];
      if (!asked.open) continue;
      asked.open = false;
      end(asked, now_ns, false);
    }
  }

  void wait(TimeNs until_ns) {
    entries_.clear();
    for (std::size_t i = 0; i < peers_.size(); ++i) {
      if (peers_[i].fd < 0 && now() >= peers_[i].retry_ns) connect(i);
      if (peers_[i].fd < 0) until_ns = std::min(until_ns, peers_[i].retry_ns);
      entries_.push_back({peers_[i].fd, POLLIN, 0});
    }
    const TimeNs left_ns = std::max<TimeNs>(0, until_ns - now());
    const struct timespec pause { left_ns / kSecond, left_ns % kSecond };
    (void)::ppoll(entries_.data(), entries_.size(), &pause, nullptr);
  }

  void read_all() {
    for (std::size_t i = 0; i < peers_.size(); ++i)
      if (entries_[i].revents != 0) read_peer(i);
  }

  void read_peer(std::size_t at) {
    for (;;) {
      Answer answer;
      const ssize_t got = ::recv(peers_[at].fd, &answer, sizeof(answer), MSG_DONTWAIT);
      if (got == static_cast<ssize_t>(sizeof(answer))) {
        take(answer);
        continue;
      }
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
      ::close(peers_[at].fd);
      peers_[at].fd = -1;
      for (Asked& asked : asked_)
        if (asked.open && asked.peer == at) lose(asked);
      return;
    }
  }

  void take(const Answer& answer) {
    if (answer.id >= asked_.size() || !asked_[answer.id].open) return;  // too late
    Asked& asked = asked_[answer.id];
    asked.open = false;
    const TimeNs now_ns = now();
    if (answer.reply == Reply::refused) {
      measures_.refused(now_ns, asked.intended_ns, asked.criticality);
      count(now_ns, &TimelineSlot::refused);
      return;
    }
    if (closed_) {
      if (now_ns >= kClosedWarmNs) closed_work_ns_ += static_cast<double>(asked.work_ns);
      return send_to(asked.peer, now_ns);
    }
    end(asked, now_ns, true);
  }

  void finish() {
    result_.figures = measures_.figures();
    const double span_ns = static_cast<double>(spec_.during_ns - spec_.settled_ns);
    result_.good_work = good_work_ns_ / (span_ns * spec_.capacity_share);
    std::sort(lags_ns_.begin(), lags_ns_.end());
    if (!lags_ns_.empty())
      result_.lag_p99_ms = static_cast<double>(lags_ns_[lags_ns_.size() * 99 / 100]) * 1e-6;
    result_.capacity_per_second = spec_.capacity_per_second;
    result_.capacity_share = spec_.capacity_share;
    result_.whole = true;
  }

  const CellSpec& spec_;
  const std::string& dir_;
  GeneratorResult& result_;
  lease::Random random_;
  overload::Measures measures_;
  std::vector<Peer> peers_;
  std::vector<struct pollfd> entries_;
  std::vector<Asked> asked_;  // by id; a cell is short
  std::deque<Patience> patience_;
  std::vector<TimeNs> lags_ns_;
  TimeNs begun_ns_ = 0;
  TimeNs last_due_ns_ = 0;
  double good_work_ns_ = 0.0;
  double closed_work_ns_ = 0.0;
  bool closed_ = false;
};

}  // namespace

void run_generator(const CellSpec& spec, const Place& place, const std::string& dir,
                   CellShared& shared) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  place.enter_generator();
  Generator generator(spec, dir, shared);
  if (spec.capacity_per_second > 0.0) {
    generator.run_open();
  } else {
    generator.run_closed();
  }
  ::_exit(0);
}

}  // namespace weir::bench
