#include "bench/overload/server.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>

#include "bench/overload/gate.h"
#include "bench/overload/wire.h"

namespace weir::bench {
namespace {

// Without any limiter the queue grows until clients give up; this only bounds the memory.
constexpr std::size_t kQueueMax = 20'000;
constexpr int kLookMs = 100;
constexpr int kPacketsAtOnce = 64;

std::int64_t thread_cpu_ns() {
  struct timespec now {};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<std::int64_t>(now.tv_sec) * kSecond + now.tv_nsec;
}

bool ended(pid_t pid) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/stat", static_cast<int>(pid));
  std::FILE* file = std::fopen(path, "re");
  if (file == nullptr) return true;
  char state = 'X';
  if (std::fscanf(file, "%*d %*[^)]) %c", &state) != 1) state = 'X';
  std::fclose(file);
  return state == 'Z' || state == 'X';
}

int held_of(std::uint64_t held, int index) { return static_cast<int>(held >> (8 * index)) & 0xff; }

class Server {
 public:
  Server(const CellSpec& spec, CellShared& shared, int index, std::unique_ptr<Gate> gate)
      : spec_(spec),
        shared_(shared),
        slot_(shared.servers[static_cast<std::size_t>(index)]),
        gate_(std::move(gate)),
        unit_(std::uint64_t{1} << (8 * index)) {
    if (spec.arm == BenchArm::fixed) limit_ = static_cast<int>(spec.fixed_limit);
    if (spec.arm == BenchArm::ours) limit_ = static_cast<int>(spec.bulkhead);
  }

  [[noreturn]] void run(int listener) {
    std::thread(&Server::work, this).detach();
    slot_.ready = true;
    for (;;) {
      struct pollfd entries[2] = {{listener, POLLIN, 0}, {peer_, POLLIN, 0}};
      (void)::poll(entries, peer_ >= 0 ? 2 : 1, kLookMs);
      gate_->look(mono_ns());
      if ((entries[0].revents & POLLIN) != 0) take_peer(listener);
      if (peer_ >= 0 && entries[1].fd == peer_ && entries[1].revents != 0) read_some();
    }
  }

 private:
  struct Job {
    Request request;
    Ticket ticket;
  };

  void take_peer(int listener) {
    const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    const std::lock_guard lock(mutex_);
    if (peer_ >= 0) ::close(peer_);
    peer_ = fd;
  }

  // The generator has gone; what is queued is worked off, and permits are given back.
  void lose_peer() {
    const std::lock_guard lock(mutex_);
    ::close(peer_);
    peer_ = -1;
  }

  void read_some() {
    for (int i = 0; i < kPacketsAtOnce; ++i) {
      Request request;
      const ssize_t got = ::recv(peer_, &request, sizeof(request), MSG_DONTWAIT);
      if (got == 0) return lose_peer();
      if (got != static_cast<ssize_t>(sizeof(request))) return;
      decide(request);
    }
  }

  void decide(const Request& request) {
    Job job{request, {}};
    if (!gate_->admits(request.criticality, job.ticket)) return answer(request.id, Reply::refused);
    hold();
    const std::lock_guard lock(mutex_);
    if (queue_.size() < kQueueMax) {
      queue_.push_back(job);
      some_.notify_one();
      return;
    }
    leave(job, true);
    answer(request.id, Reply::refused);
  }

  // The oracle: what all processes together have admitted and not yet given back, by counts of
  // their own, is never above the limit that the library enforces. What a killed process held
  // does not count; its supervisor may not have cleared it yet.
  void hold() {
    if (limit_ == 0) return;
    const std::uint64_t held = (shared_.held += unit_);
    int sum = 0;
    for (int i = 0; i < kServersMax; ++i)
      sum += held_of(held, i);
    if (sum > limit_) {
      for (int i = 0; i < kServersMax; ++i)
        if (held_of(held, i) > 0 && ended(shared_.servers[static_cast<std::size_t>(i)].pid))
          sum -= held_of(held, i);
      if (sum > limit_) ++shared_.over_limit;
    }
    std::int64_t most = shared_.in_flight_most;
    while (sum > most && !shared_.in_flight_most.compare_exchange_weak(most, sum)) {
    }
  }

  // Its own count falls before the permit is free for others.
  void leave(Job& job, bool failed) {
    if (limit_ != 0) shared_.held -= unit_;
    gate_->done(job.ticket, failed);
  }

  [[noreturn]] void work() {
    for (;;) {
      std::unique_lock lock(mutex_);
      some_.wait(lock, [this] { return !queue_.empty(); });
      Job job = queue_.front();
      queue_.pop_front();
      lock.unlock();
      // Whose client has hung up meanwhile is not served: it costs nothing but its wait.
      const bool late = mono_ns() - job.request.intended_mono_ns > spec_.patience_ns;
      if (!late) burn(job.request.work_ns);
      leave(job, late);
      if (late) continue;
      answer(job.request.id, Reply::done);
    }
  }

  void answer(std::uint64_t id, Reply reply) {
    const Answer answer{id, reply, 0};
    (void)::send(peer_, &answer, sizeof(answer), MSG_DONTWAIT | MSG_NOSIGNAL);
  }

  const CellSpec& spec_;
  CellShared& shared_;
  ServerSlot& slot_;
  std::unique_ptr<Gate> gate_;
  std::uint64_t unit_;
  int limit_ = 0;
  std::atomic<int> peer_{-1};
  std::mutex mutex_;
  std::condition_variable some_;
  std::deque<Job> queue_;
};

int listen_at(const std::string& path) {
  ::unlink(path.c_str());
  const int fd = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  struct sockaddr_un at {};
  at.sun_family = AF_UNIX;
  std::strncpy(at.sun_path, path.c_str(), sizeof(at.sun_path) - 1);
  if (fd < 0 || ::bind(fd, reinterpret_cast<const struct sockaddr*>(&at), sizeof(at)) != 0 ||
      ::listen(fd, 4) != 0)
    return -1;
  return fd;
}

}  // namespace

void burn(std::int64_t cpu_ns) {
  const std::int64_t until_ns = thread_cpu_ns() + cpu_ns;
  volatile std::uint32_t spin = 0;
  while (thread_cpu_ns() < until_ns)
    for (int i = 0; i < 2000; ++i)
      spin = spin + 1;
}

void run_server(const CellSpec& spec, const Place& place, const std::string& dir,
                const std::string& agent_socket, int index, CellShared& shared) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  place.enter_server();
  std::unique_ptr<Gate> gate = make_gate(spec, place, agent_socket);
  const int listener = listen_at(server_path(dir, index));
  if (!gate || listener < 0) ::_exit(1);
  Server server(spec, shared, index, std::move(gate));
  server.run(listener);
}

}  // namespace weir::bench
