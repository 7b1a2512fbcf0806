#include "bench/books.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "shm/clock.h"
#include "shm/frame.h"
#include "shm/stripe.h"

namespace weir::bench {

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr int kRestReadingsMin = 4;
constexpr int kRestStepUs = 5'000;
constexpr int kRestStepsMax = 400;

shm::Fd connect_to(const std::string& path) {
  shm::Fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  struct sockaddr_un address {};
  address.sun_family = AF_UNIX;
  if (!fd || path.size() >= sizeof(address.sun_path)) return {};
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  if (::connect(fd.get(), reinterpret_cast<const struct sockaddr*>(&address), sizeof(address)) != 0)
    return {};
  return fd;
}

bool say_hello(const shm::Fd& fd) {
  shm::Frame hello = shm::make_frame(shm::FrameType::hello, shm::kMajor, shm::kMinor);
  hello.mono_offset_ns = shm::read_timens_offset_ns();
  constexpr char kLabel[] = "weir-bench books";
  std::memcpy(hello.label.data(), kLabel, sizeof(kLabel));
  return ::send(fd.get(), &hello, sizeof(hello), MSG_NOSIGNAL) == sizeof(hello);
}

bool receive_segments(const shm::Fd& fd, shm::Fd (&segments)[2]) {
  shm::Frame answer;
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * 2)];
  struct iovec part {
    &answer, sizeof(answer)
  };
  struct msghdr message {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  if (::recvmsg(fd.get(), &message, MSG_CMSG_CLOEXEC) != sizeof(answer)) return false;
  const struct cmsghdr* rights = CMSG_FIRSTHDR(&message);
  if (rights == nullptr || rights->cmsg_type != SCM_RIGHTS ||
      rights->cmsg_len != CMSG_LEN(sizeof(int) * 2))
    return false;
  int fds[2];
  std::memcpy(fds, CMSG_DATA(rights), sizeof(fds));
  segments[0].reset(fds[0]);
  segments[1].reset(fds[1]);
  return answer.type == static_cast<std::uint16_t>(shm::FrameType::welcome);
}

std::optional<shm::Mapping> map(const shm::Fd& fd, shm::SegmentKind kind) {
  auto bytes = shm::check_segment(fd.get(), kind);
  if (!bytes) return std::nullopt;
  auto mapping = shm::map_segment(fd.get(), *bytes, kind != shm::SegmentKind::rules);
  if (!mapping) return std::nullopt;
  return std::move(*mapping);
}

}  // namespace

std::optional<Books> Books::open(const std::string& socket_path) {
  Books books;
  books.connection_ = connect_to(socket_path);
  shm::Fd segments[2];
  if (!books.connection_ || !say_hello(books.connection_) ||
      !receive_segments(books.connection_, segments))
    return std::nullopt;
  auto rules = map(segments[0], shm::SegmentKind::rules);
  auto counters = map(segments[1], shm::SegmentKind::counters);
  if (!rules || !counters) return std::nullopt;
  auto rules_geometry = shm::validate_rules(rules->bytes());
  auto counters_geometry = shm::validate_counters(counters->bytes());
  if (!rules_geometry || !counters_geometry) return std::nullopt;
  books.rules_map_ = std::move(*rules);
  books.counters_map_ = std::move(*counters);
  books.rules_ = shm::RulesView(books.rules_map_.data(), *rules_geometry);
  books.counters_ = shm::CountersView(books.counters_map_.data(), *counters_geometry);
  return books;
}

Balance Books::read(std::uint32_t index) const {
  const shm::CounterSlot& slot = counters_.slot(index);
  Balance balance;
  balance.minted_total = slot.minted_total.load(kRelaxed);
  balance.cut_total = slot.cut_total.load(kRelaxed);
  balance.level = shm::bucket_level(slot);
  shm::RuleCopy rule;
  const std::uint32_t cpus = counters_.geometry().cpus;
  if (shm::copy_rule(rules_, index, rule) && rule.stripe_set != 0 &&
      rule.stripe_set <= counters_.geometry().stripe_sets) {
    const shm::StripeCell* cells = counters_.stripes(rule.stripe_set);
    balance.level += shm::striped_level(cells, cpus);
    for (std::uint32_t cpu = 0; cpu < cpus; ++cpu)
      balance.stripes_taken += cells[cpu].taken.load(kRelaxed);
  }
  return balance;
}

Balance Books::now(const char* limit) const {
  const std::int32_t found = shm::find_limit(rules_, limit);
  return found < 0 ? Balance{} : read(static_cast<std::uint32_t>(found));
}

std::optional<Balance> Books::at_rest(const char* limit) const {
  const std::int32_t found = shm::find_limit(rules_, limit);
  if (found < 0) return std::nullopt;
  const auto index = static_cast<std::uint32_t>(found);
  Balance last = read(index);
  for (int step = 0, equal = 1; step < kRestStepsMax; ++step) {
    ::usleep(kRestStepUs);
    const Balance now = read(index);
    equal = now == last ? equal + 1 : 1;
    if (equal >= kRestReadingsMin) return now;
    last = now;
  }
  return std::nullopt;
}

bool Books::agent_sleeps() const { return rules_.header().sleeping.load(kRelaxed) != 0; }

}  // namespace weir::bench
