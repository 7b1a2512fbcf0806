// H12, U2, U3: whoever sits at the socket's path, a client maps only what an agent would hand out.
//
// Tried with these protections taken out, each of which fails here: peer_trusted always true;
// check_segment that looks at no seal; an exact comparison of the minor version.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "tests/support/fixture.h"
#include "tests/support/raw_client.h"

namespace weir::test {
namespace {

using namespace weir::shm;

// A welcome as an agent makes it, and everything that can be wrong with it.
struct Offer {
  RulesGeometry rules_geometry{64};
  CountersGeometry counters_geometry{64, 2, 4, 64};
  std::function<void(RulesHeader&)> doctor_rules = [](RulesHeader&) {};
  std::function<void(CountersHeader&)> doctor_counters = [](CountersHeader&) {};
  std::function<void(Frame&)> doctor_frame = [](Frame&) {};
  bool seal_rules = true, seal_counters = true, rules_stay_writable = false, plain_files = false;
  std::size_t rules_bytes = 0;  // 0: as it should be
  int fds = 2;
  std::optional<uid_t> uid;
};

struct Made {
  Fd rules, counters;
};

Fd make(const Offer& offer, const char* name, std::size_t bytes) {
  if (offer.plain_files) {
    Fd file(::open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (::ftruncate(file.get(), static_cast<off_t>(bytes)) != 0) std::abort();
    return file;
  }
  auto fd = make_segment(name, bytes);
  return fd ? std::move(*fd) : Fd();
}

Made make_segments(const Offer& offer) {
  constexpr std::uint64_t kId = 42;
  Made made;
  const std::size_t whole = offer.rules_geometry.bytes();
  made.rules = make(offer, "fake.rules", whole);
  made.counters = make(offer, "fake.counters", offer.counters_geometry.bytes());
  auto rules = map_segment(made.rules.get(), whole, true);
  auto counters = map_segment(made.counters.get(), offer.counters_geometry.bytes(), true);
  format_rules(rules->data(), offer.rules_geometry, 7, kId, 250'000'000, 5'000'000);
  format_counters(counters->data(), offer.counters_geometry, kId);
  RulesWriter(rules->data(), offer.rules_geometry).header().heartbeat_mono_ns.store(now_ns());
  offer.doctor_rules(*reinterpret_cast<RulesHeader*>(rules->data()));
  offer.doctor_counters(*reinterpret_cast<CountersHeader*>(counters->data()));
  if (offer.rules_bytes != 0 &&
      ::ftruncate(made.rules.get(), static_cast<off_t>(offer.rules_bytes)) != 0)
    std::abort();
  const auto seal = [](int fd, SegmentKind kind) { (void)!seal_segment(fd, kind); };
  if (offer.seal_rules)
    seal(made.rules.get(), offer.rules_stay_writable ? SegmentKind::counters : SegmentKind::rules);
  if (offer.seal_counters) seal(made.counters.get(), SegmentKind::counters);
  return made;
}

void answer(int fd, const Offer& offer, const Made& made) {
  Frame hello;
  if (::recv(fd, &hello, sizeof(hello), 0) <= 0) return;
  Frame frame = make_frame(FrameType::welcome, kMajor, kMinor);
  frame.count = 16;
  offer.doctor_frame(frame);
  const int fds[2] = {made.rules.get(), made.counters.get()};
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(fds))] = {};
  struct iovec part {
    &frame, sizeof(frame)
  };
  struct msghdr message {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  const std::size_t bytes = sizeof(int) * static_cast<std::size_t>(offer.fds);
  if (offer.fds > 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(bytes);
    struct cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(bytes);
    std::memcpy(CMSG_DATA(c), fds, bytes);
  }
  ::sendmsg(fd, &message, MSG_NOSIGNAL);
  ::recv(fd, &hello, sizeof(hello), 0);  // until the client is gone
}

// A child process that serves the offer at a socket, as another user if so wished.
class FakeAgent {
 public:
  explicit FakeAgent(const Offer& offer) {
    open_to_all(dir_.path());
    int ready[2];
    if (::pipe2(ready, O_CLOEXEC) != 0) std::abort();
    pid_ = ::fork();
    if (pid_ == 0) serve(offer, ready[1]);
    ::close(ready[1]);
    char byte;
    served_ = ::read(ready[0], &byte, 1) == 1;
    ::close(ready[0]);
  }
  ~FakeAgent() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  FakeAgent(const FakeAgent&) = delete;
  FakeAgent& operator=(const FakeAgent&) = delete;
  std::string socket() const { return dir_ / "agent.sock"; }
  bool served() const { return served_; }

 private:
  [[noreturn]] void serve(const Offer& offer, int ready) {
    if (offer.uid && ::setresuid(*offer.uid, *offer.uid, *offer.uid) != 0) ::_exit(1);
    const int listener = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    struct sockaddr_un at {};
    at.sun_family = AF_UNIX;
    std::strncpy(at.sun_path, socket().c_str(), sizeof(at.sun_path) - 1);
    if (::bind(listener, reinterpret_cast<const struct sockaddr*>(&at), sizeof(at)) != 0 ||
        ::listen(listener, 16) != 0)
      ::_exit(1);
    const Made made = make_segments(offer);
    (void)!::write(ready, "x", 1);
    for (;;) {
      const Fd peer(::accept(listener, nullptr, nullptr));
      answer(peer.get(), offer, made);
    }
  }
  TempDir dir_;
  pid_t pid_ = -1;
  bool served_ = false;
};

weir_status attach_to(const Offer& offer) {
  const FakeAgent fake(offer);
  EXPECT_TRUE(fake.served());
  const int fds = count_fds(::getpid());
  weir_status status;
  {
    const Client client(fake.socket());
    status = client.status();
  }
  EXPECT_EQ(count_fds(::getpid()), fds) << "a descriptor is left";
  return status;
}

TEST(FakeAgent, AFaithfulOneIsBelieved) { EXPECT_EQ(attach_to({}), WEIR_OK); }

TEST(FakeAgent, OfAnotherUserIsNotTrusted) {
  if (!is_root()) GTEST_SKIP() << "needs root to become another user";
  Offer offer;
  offer.uid = kStranger;
  // Root's client trusts root and the user weir.
  EXPECT_EQ(attach_to(offer), WEIR_E_UNTRUSTED);
}

TEST(FakeAgent, WithSegmentsThatSomebodyCouldChangeIsNotTrusted) {
  Offer unsealed_rules, unsealed_counters, writable_rules, files;
  unsealed_rules.seal_rules = false;
  unsealed_counters.seal_counters = false;
  writable_rules.rules_stay_writable = true;
  files.plain_files = true;
  EXPECT_EQ(attach_to(unsealed_rules), WEIR_E_UNTRUSTED);
  EXPECT_EQ(attach_to(unsealed_counters), WEIR_E_UNTRUSTED);
  EXPECT_EQ(attach_to(writable_rules), WEIR_E_UNTRUSTED);
  EXPECT_EQ(attach_to(files), WEIR_E_UNTRUSTED);
}

TEST(FakeAgent, WithSegmentsThatAreNotWhatTheySayIsNotTrusted) {
  for (const std::size_t bytes :
       {std::size_t{64}, std::size_t{4096}, RulesGeometry{64}.bytes() - 4096}) {
    Offer offer;
    offer.rules_bytes = bytes;
    EXPECT_EQ(attach_to(offer), WEIR_E_UNTRUSTED) << bytes << " bytes of rules";
  }
  const auto rules = [](std::function<void(RulesHeader&)> doctor) {
    Offer offer;
    offer.doctor_rules = std::move(doctor);
    return attach_to(offer);
  };
  EXPECT_EQ(rules([](RulesHeader& h) { h.magic = 1; }), WEIR_E_UNTRUSTED);
  EXPECT_EQ(rules([](RulesHeader& h) { h.version = 0; }), WEIR_E_UNTRUSTED) << "still being made";
  EXPECT_EQ(rules([](RulesHeader& h) { h.limits_max = 4096; }), WEIR_E_UNTRUSTED);
  EXPECT_EQ(rules([](RulesHeader& h) { h.limits_max = ~0U; }), WEIR_E_UNTRUSTED);
  EXPECT_EQ(rules([](RulesHeader& h) { h.counters_id = 43; }), WEIR_E_UNTRUSTED);
  const auto counters = [](std::function<void(CountersHeader&)> doctor) {
    Offer offer;
    offer.doctor_counters = std::move(doctor);
    return attach_to(offer);
  };
  EXPECT_EQ(counters([](CountersHeader& h) { h.magic = 1; }), WEIR_E_UNTRUSTED);
  EXPECT_EQ(counters([](CountersHeader& h) { h.cpus = ~0U; }), WEIR_E_UNTRUSTED);
  EXPECT_EQ(counters([](CountersHeader& h) { h.waiters = 10'000; }), WEIR_E_UNTRUSTED);
}

TEST(FakeAgent, WithAStrangeAnswerIsNotTrusted) {
  Offer none, one, other_type, other_magic;
  none.fds = 0;
  one.fds = 1;
  other_type.doctor_frame = [](Frame& f) { f.type = 9; };
  other_magic.doctor_frame = [](Frame& f) { f.magic = 9; };
  EXPECT_EQ(attach_to(none), WEIR_E_UNTRUSTED);
  EXPECT_EQ(attach_to(one), WEIR_E_UNTRUSTED);
  EXPECT_EQ(attach_to(other_type), WEIR_E_UNTRUSTED);
  EXPECT_EQ(attach_to(other_magic), WEIR_E_UNTRUSTED);
}

// Waiter cells beyond the segment are not used: the client still attaches, and waits by itself.
TEST(FakeAgent, WithWaiterCellsBeyondTheSegmentIsNotFollowedThere) {
  Offer offer;
  offer.doctor_frame = [](Frame& f) { f.first = 60; };
  EXPECT_EQ(attach_to(offer), WEIR_OK);
  offer.doctor_frame = [](Frame& f) { f.first = ~0U - 3; };
  EXPECT_EQ(attach_to(offer), WEIR_OK);
}

TEST(FakeAgent, OfAnotherMajorVersionIsNamedAsSuch) {
  Offer frame, rules, counters;
  frame.doctor_frame = [](Frame& f) { f.major = kMajor + 1; };
  rules.doctor_rules = [](RulesHeader& h) { h.version = version_word(kMajor + 1, 0); };
  counters.doctor_counters = [](CountersHeader& h) { h.version = version_word(kMajor + 1, 0); };
  EXPECT_EQ(attach_to(frame), WEIR_E_VERSION);
  EXPECT_EQ(attach_to(rules), WEIR_E_VERSION);
  EXPECT_EQ(attach_to(counters), WEIR_E_VERSION);
}

TEST(FakeAgent, OfANewerMinorVersionIsGoodEnough) {
  Offer offer;
  offer.doctor_frame = [](Frame& f) { f.minor = kMinor + 3; };
  offer.doctor_rules = [](RulesHeader& h) { h.version = version_word(kMajor, kMinor + 3); };
  offer.doctor_counters = [](CountersHeader& h) { h.version = version_word(kMajor, kMinor + 3); };
  EXPECT_EQ(attach_to(offer), WEIR_OK);
}

// The other way round: an agent tolerates a newer client's minor version.
TEST(FakeAgent, AndAnAgentTakesANewerMinorVersionOfAClient) {
  Agent agent({.rules = rules_of({"name: /t, rate: 1/s"})});
  ASSERT_TRUE(agent.start());
  Frame hello = make_frame(FrameType::hello, kMajor, kMinor + 3);
  RawClient raw(agent.socket());
  EXPECT_TRUE(raw.attach(&hello));
  Frame unknown = make_frame(static_cast<FrameType>(77), kMajor, kMinor + 3);
  EXPECT_TRUE(raw.send(&unknown, sizeof(unknown)));
  EXPECT_EQ(agent.clients(), 1U);
}

TEST(FakeAgent, RefusalsAreToldApart) {
  const auto refuse = [](Refusal why) {
    Offer offer;
    offer.fds = 0;
    offer.doctor_frame = [why](Frame& f) {
      f.type = static_cast<std::uint16_t>(FrameType::refuse);
      f.first = static_cast<std::uint32_t>(why);
    };
    return attach_to(offer);
  };
  EXPECT_EQ(refuse(Refusal::not_allowed), WEIR_E_NOT_ALLOWED);
  EXPECT_EQ(refuse(Refusal::too_many), WEIR_E_LIMIT);
  EXPECT_EQ(refuse(Refusal::busy), WEIR_E_BUSY);
  EXPECT_EQ(refuse(Refusal::version), WEIR_E_VERSION);
  EXPECT_EQ(refuse(static_cast<Refusal>(99)), WEIR_E_BUSY);
}

}  // namespace
}  // namespace weir::test
