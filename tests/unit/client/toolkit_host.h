// What an agent is to the toolkit's clients, and no more: segments with the rules that a test
// wants, a socket that hands them out, a heartbeat that can be stopped, and the reaping of
// processes that have died. Real processes attach to it through the real C ABI.
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "shm/clock.h"
#include "shm/frame.h"
#include "shm/segment.h"
#include "shm/toolkit_reap.h"
#include "shm/view.h"
#include "weir/toolkit.h"

namespace weir::test {

inline constexpr std::uint32_t kApi = 0;  // the resource that most tests publish

// A child that does not outlive its test, however that ends.
inline pid_t fork_child() {
  const pid_t pid = ::fork();
  if (pid == 0) ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  return pid;
}

class ToolkitHost {
 public:
  static constexpr std::uint64_t kId = 4711;
  static constexpr std::int64_t kStaleNs = 100'000'000;

  explicit ToolkitHost(std::uint32_t holders = 512, std::uint32_t processes = 64) {
    char name[] = "/tmp/weir_toolkit_XXXXXX";
    if (::mkdtemp(name) == nullptr) std::abort();
    dir_ = name;
    geometry_ = {.resources_max = 8,
                 .features_max = 4,
                 .processes_max = processes,
                 .holders_max = holders,
                 .cpus = static_cast<std::uint32_t>(::sysconf(_SC_NPROCESSORS_CONF)),
                 .rules_begin = rules_.bytes(),
                 .counters_begin = counters().bytes_with_sets()};
    make_counters();
    make_rules();
    listen();
    server_ = std::thread([this] { serve(); });
  }
  ~ToolkitHost() {
    stop_ = true;
    server_.join();
    for (const int fd : connections_)
      ::close(fd);
    ::close(listener_);
    ::unlink(socket().c_str());
    ::rmdir(dir_.c_str());
  }
  ToolkitHost(const ToolkitHost&) = delete;
  ToolkitHost& operator=(const ToolkitHost&) = delete;

  std::string socket() const { return dir_ + "/s"; }
  const shm::ToolkitView& view() const { return view_; }
  // The agent's window: rules that it may write.
  shm::ResourceRule& rule(std::uint32_t i) { return const_cast<shm::ResourceRule&>(view_.rule(i)); }
  shm::FeatureRule& feature(std::uint32_t i) {
    return const_cast<shm::FeatureRule&>(view_.feature(i));
  }
  void publish(std::uint32_t i, const char* name, std::uint32_t tools,
               std::uint32_t generation = 1) {
    std::strncpy(rule(i).name, name, sizeof(rule(i).name) - 1);
    rule(i).hot.store(shm::hot_word(generation, shm::kToolActive | tools));
  }
  void publish_feature(std::uint32_t i, const char* name, std::uint32_t level) {
    std::strncpy(feature(i).name, name, sizeof(feature(i).name) - 1);
    feature(i).hot.store(shm::hot_word(1, level));
  }
  // A stopped agent: no heartbeat, no answer, no reaping. Returns once everybody can know.
  void freeze() {
    frozen_ = true;
    while (!asleep_)
      ::usleep(500);
    ::usleep(kStaleNs / 1000 + 20'000);
  }
  void thaw() { frozen_ = false; }
  std::uint32_t holds_announced() const { return announced_; }
  std::int64_t total(std::uint32_t i) const { return view_.counter(i).in_flight.load(); }
  // As the agent's recount, past its bound on how often.
  void recount_now(std::uint32_t i) {
    view_.counter(i).recount_mono_ns.store(0);
    (void)shm::recount(view_, i, shm::read_mono_ns());
  }
  // What the agent does when a client's pidfd says that it is gone.
  shm::Reaped reap(pid_t pid) {
    shm::Reaped sum;
    for (std::uint32_t i = 0; i < geometry_.processes_max; ++i) {
      const std::uint64_t owner = view_.process(i).owner.load();
      if (shm::process_pid(owner) != static_cast<std::uint32_t>(pid) ||
          shm::process_state(owner) == shm::ProcessState::free)
        continue;
      const shm::Reaped one = shm::reap_process(view_, i, owner, shm::read_mono_ns());
      sum.permits += one.permits;
      sum.cells += one.cells;
      sum.probes += one.probes;
    }
    return sum;
  }
  weir_client* client() const {
    const std::string path = socket();
    weir_options options{};
    options.struct_bytes = sizeof(options);
    options.socket_path = path.c_str();
    options.require_agent = 1;
    options.connect_timeout_ms = 5000;
    weir_client* made = nullptr;
    return weir_open(&options, &made) == WEIR_OK ? made : nullptr;
  }
  // A real process that runs `body` with a client of its own, and must be waited for.
  pid_t spawn(const std::function<void(weir_client*)>& body) const {
    const pid_t pid = fork_child();
    if (pid != 0) return pid;
    weir_client* own = client();
    if (own == nullptr) ::_exit(3);
    body(own);
    ::_exit(0);
  }

 private:
  shm::CountersGeometry counters() const { return {4, 2, 1, 64, shm::kLaneSets}; }

  void make_counters() {
    auto fd = shm::make_segment("test.counters", geometry_.counters_bytes());
    auto map = shm::map_segment(fd->get(), geometry_.counters_bytes(), true);
    shm::format_toolkit_counters(map->data(), geometry_);
    shm::format_counters(map->data(), counters(), kId);
    (void)!shm::seal_segment(fd->get(), shm::SegmentKind::counters);
    counters_fd_ = std::move(*fd);
    counters_map_ = std::move(*map);
  }
  void make_rules() {
    auto fd = shm::make_segment("test.rules", geometry_.rules_bytes());
    auto map = shm::map_segment(fd->get(), geometry_.rules_bytes(), true);
    shm::format_toolkit_rules(map->data(), geometry_);
    shm::format_rules(map->data(), rules_, 1, kId, kStaleNs, 5'000'000);
    (void)!shm::seal_segment(fd->get(), shm::SegmentKind::rules);
    rules_fd_ = std::move(*fd);
    rules_map_ = std::move(*map);
    beat();
    auto view = shm::toolkit_of(rules_map_.bytes(), rules_,
                                {counters_map_.data(), counters_map_.size()}, counters());
    if (!view || !*view.operator->()) std::abort();
    view_ = *view;
  }
  void beat() {
    reinterpret_cast<shm::RulesHeader*>(rules_map_.data())
        ->heartbeat_mono_ns.store(shm::read_mono_ns());
  }
  void listen() {
    listener_ = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un address {};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, socket().c_str(), sizeof(address.sun_path) - 1);
    if (::bind(listener_, reinterpret_cast<struct sockaddr*>(&address), sizeof(address)) != 0 ||
        ::listen(listener_, 128) != 0)
      std::abort();
  }
  void serve() {
    while (!stop_) {
      if (frozen_) {
        asleep_ = true;
        ::usleep(500);
        continue;
      }
      asleep_ = false;
      beat();
      struct pollfd waiting {
        listener_, POLLIN, 0
      };
      ::poll(&waiting, 1, 1);
      for (int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK); fd >= 0;
           fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK))
        connections_.push_back(fd);
      for (std::size_t i = 0; i < connections_.size();)
        if (read_from(connections_[i])) {
          ++i;
        } else {
          ::close(connections_[i]);
          connections_.erase(connections_.begin() + static_cast<std::ptrdiff_t>(i));
        }
    }
  }
  bool read_from(int fd) {
    shm::Frame frame;
    const ssize_t bytes = ::recv(fd, &frame, sizeof(frame), MSG_DONTWAIT);
    if (bytes < 0) return errno == EAGAIN;
    if (bytes == 0 || !shm::frame_ok(frame, static_cast<std::size_t>(bytes))) return false;
    if (frame.type == static_cast<std::uint16_t>(shm::FrameType::hold)) ++announced_;
    if (frame.type == static_cast<std::uint16_t>(shm::FrameType::hello)) welcome(fd);
    return true;
  }
  void welcome(int fd) {
    shm::Frame frame = shm::make_frame(shm::FrameType::welcome, shm::kMajor, shm::kMinor);
    const int fds[2] = {rules_fd_.get(), counters_fd_.get()};
    alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(fds))] = {};
    struct iovec part {
      &frame, sizeof(frame)
    };
    struct msghdr message {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    struct cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(fds));
    std::memcpy(CMSG_DATA(c), fds, sizeof(fds));
    (void)!::sendmsg(fd, &message, MSG_NOSIGNAL);
  }

  std::string dir_;
  shm::RulesGeometry rules_{4};
  shm::ToolkitGeometry geometry_;
  shm::Fd rules_fd_, counters_fd_;
  shm::Mapping rules_map_, counters_map_;
  shm::ToolkitView view_;
  int listener_ = -1;
  std::vector<int> connections_;
  std::atomic<bool> stop_{false}, frozen_{false}, asleep_{false};
  std::atomic<std::uint32_t> announced_{0};
  std::thread server_;
};

// A page that a test and its children share.
template <class T>
class SharedPage {
 public:
  SharedPage()
      : page_(new (::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                          -1, 0)) T) {}
  ~SharedPage() { ::munmap(static_cast<void*>(page_), sizeof(T)); }
  SharedPage(const SharedPage&) = delete;
  SharedPage& operator=(const SharedPage&) = delete;
  T* operator->() const { return page_; }
  T* get() const { return page_; }

 private:
  T* page_;
};

inline bool eventually_true(const std::function<bool()>& condition, int timeout_ms = 20'000) {
  for (int waited = 0; waited < timeout_ms; ++waited) {
    if (condition()) return true;
    ::usleep(1000);
  }
  return condition();
}

inline void kill_and_wait(pid_t pid) {
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
}

}  // namespace weir::test
