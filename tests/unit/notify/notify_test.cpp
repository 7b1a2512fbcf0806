#include "daemon/notify/notify.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <optional>
#include <string>
#include <thread>

namespace weir {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using namespace std::chrono_literals;

std::string unique_path() {
  static int count = 0;
  return ::testing::TempDir() + "weir_notify_" + std::to_string(::getpid()) + "_" +
         std::to_string(++count);
}

// Stands where the service manager would.
class Manager {
 public:
  explicit Manager(std::string address) : address_(std::move(address)) {
    socket_.reset(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_un self{};
    self.sun_family = AF_UNIX;
    std::memcpy(self.sun_path, address_.data(), address_.size());
    std::size_t bytes = offsetof(sockaddr_un, sun_path) + address_.size();
    if (address_[0] == '@') {
      self.sun_path[0] = '\0';
    } else {
      ++bytes;
    }
    bound_ = ::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&self),
                    static_cast<socklen_t>(bytes)) == 0;
  }
  ~Manager() {
    if (address_[0] != '@') ::unlink(address_.c_str());
  }

  struct Message {
    std::string text;
    shm::Fd fd;
  };
  // The next message; an empty one when there is none. Never waits.
  Message next(int flags = MSG_DONTWAIT) {
    std::array<char, 4096> text{};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    iovec bytes{.iov_base = text.data(), .iov_len = text.size()};
    msghdr header{};
    header.msg_iov = &bytes;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    const ssize_t count = ::recvmsg(socket_.get(), &header, flags | MSG_CMSG_CLOEXEC);
    if (count < 0) return {};
    Message message{std::string(text.data(), static_cast<std::size_t>(count)), {}};
    if (const cmsghdr* found = CMSG_FIRSTHDR(&header); found != nullptr) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(found), sizeof(fd));
      message.fd.reset(fd);
    }
    return message;
  }

  const std::string& address() const { return address_; }
  bool bound() const { return bound_; }

 private:
  std::string address_;
  shm::Fd socket_;
  bool bound_ = false;
};

TEST(Notifier, TellsEachStateInItsOwnWords) {
  Manager manager(unique_path());
  Notifier notifier(manager.address());

  EXPECT_TRUE(notifier.supervised());
  EXPECT_TRUE(notifier.ready("2 limits"));
  EXPECT_TRUE(notifier.status("3 clients"));
  EXPECT_TRUE(notifier.ping_watchdog());
  EXPECT_TRUE(notifier.extend_timeout(2s));
  EXPECT_TRUE(notifier.stopping());

  EXPECT_EQ(manager.next().text, "READY=1\nSTATUS=2 limits");
  EXPECT_EQ(manager.next().text, "STATUS=3 clients");
  EXPECT_EQ(manager.next().text, "WATCHDOG=1");
  EXPECT_EQ(manager.next().text, "EXTEND_TIMEOUT_USEC=2000000");
  EXPECT_EQ(manager.next().text, "STOPPING=1");
}

TEST(Notifier, AReloadCarriesItsTime) {
  Manager manager(unique_path());
  Notifier notifier(manager.address());
  timespec before{};
  ::clock_gettime(CLOCK_MONOTONIC, &before);

  EXPECT_TRUE(notifier.reloading());

  timespec after{};
  ::clock_gettime(CLOCK_MONOTONIC, &after);
  const std::string prefix = "RELOADING=1\nMONOTONIC_USEC=";
  const std::string text = manager.next().text;
  ASSERT_THAT(text, StartsWith(prefix));
  const long long us = std::atoll(text.c_str() + prefix.size());
  EXPECT_GE(us, before.tv_sec * 1'000'000LL + before.tv_nsec / 1'000);
  EXPECT_LE(us, after.tv_sec * 1'000'000LL + after.tv_nsec / 1'000);
}

TEST(Notifier, FindsTheManagerInTheEnvironmentByAnAbstractName) {
  Manager manager("@weir-notify-test-" + std::to_string(::getpid()));
  ASSERT_TRUE(manager.bound());
  ::setenv("NOTIFY_SOCKET", manager.address().c_str(), 1);

  Notifier notifier;
  EXPECT_TRUE(notifier.status("here"));

  EXPECT_EQ(manager.next().text, "STATUS=here");
  ::unsetenv("NOTIFY_SOCKET");
}

TEST(Notifier, WithoutAManagerEverythingAnswersNo) {
  ::unsetenv("NOTIFY_SOCKET");
  const std::string too_long = "/" + std::string(200, 'x');
  for (const char* address : {"", "/", "relative", "vsock:2:1", too_long.c_str()}) {
    Notifier notifier{std::string_view(address)};
    EXPECT_FALSE(notifier.supervised()) << address;
    EXPECT_FALSE(notifier.ready("x"));
    EXPECT_FALSE(notifier.reloading());
    EXPECT_FALSE(notifier.store_fd("name", 0));
    EXPECT_FALSE(notifier.remove_fd("name"));
    EXPECT_FALSE(notifier.barrier(0ms));
  }
  EXPECT_FALSE(Notifier().status("x"));
  Notifier nobody_there{std::string_view("/nonexistent/notify")};
  EXPECT_FALSE(nobody_there.ready("x"));
}

// A name in a status comes from a rules file; it must not become a word of the protocol.
TEST(Notifier, AStatusCannotForgeAnotherWord) {
  Manager manager(unique_path());
  Notifier notifier(manager.address());

  EXPECT_TRUE(notifier.status("x\nMAINPID=1\n" + std::string(10'000, 'y')));

  const std::string text = manager.next().text;
  EXPECT_EQ(text.find('\n'), text.npos);
  EXPECT_LT(text.size(), 1'000U);
}

TEST(Notifier, StoresAndRemovesDescriptorsByName) {
  Manager manager(unique_path());
  Notifier notifier(manager.address());
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const shm::Fd read_end(ends[0]);
  const shm::Fd write_end(ends[1]);

  EXPECT_TRUE(notifier.store_fd("counters-default", write_end.get()));
  EXPECT_TRUE(notifier.remove_fd("counters-default"));

  const auto stored = manager.next();
  EXPECT_EQ(stored.text, "FDSTORE=1\nFDNAME=counters-default");
  ASSERT_TRUE(stored.fd);
  EXPECT_EQ(::write(stored.fd.get(), "x", 1), 1);
  char got = 0;
  EXPECT_EQ(::read(read_end.get(), &got, 1), 1);
  EXPECT_EQ(manager.next().text, "FDSTOREREMOVE=1\nFDNAME=counters-default");
}

TEST(Notifier, RefusesNamesThatTheManagerWouldNotKeep) {
  Manager manager(unique_path());
  Notifier notifier(manager.address());

  const std::string too_long(256, 'x');
  for (const std::string& name :
       {std::string(), std::string("a:b"), std::string("a\nREADY=1"), std::string("ü"), too_long}) {
    EXPECT_FALSE(notifier.store_fd(name, 0)) << name;
    EXPECT_FALSE(notifier.remove_fd(name)) << name;
  }
  EXPECT_FALSE(notifier.store_fd("fine", -1));
  EXPECT_TRUE(notifier.store_fd(std::string(255, 'x'), 0));
}

// A manager that hangs must not stop the tick. If a call waited, this test would hang.
TEST(Notifier, NeverWaitsForAManagerThatDoesNotRead) {
  Manager manager(unique_path());
  Notifier notifier(manager.address());
  constexpr int kMoreThanAnyQueue = 100'000;

  int sent = 0;
  while (sent < kMoreThanAnyQueue && notifier.ping_watchdog())
    ++sent;

  EXPECT_GT(sent, 0);
  EXPECT_LT(sent, kMoreThanAnyQueue);
  manager.next();
  EXPECT_TRUE(notifier.ping_watchdog());
}

TEST(Notifier, TheBarrierWaitsUntilTheManagerHasReadIt) {
  Manager manager(unique_path());
  Notifier notifier(manager.address());
  EXPECT_FALSE(notifier.barrier(1ms));
  EXPECT_EQ(manager.next().text, "BARRIER=1");

  std::thread reader([&] { EXPECT_EQ(manager.next(0).text, "BARRIER=1"); });
  EXPECT_TRUE(notifier.barrier(60s));
  reader.join();
}

TEST(Notifier, TheWatchdogIntervalIsTheManagersAndOnlyForUs) {
  ::unsetenv("WATCHDOG_PID");
  ::setenv("WATCHDOG_USEC", "30000000", 1);
  EXPECT_EQ(Notifier::watchdog_interval(), 30s);
  ::setenv("WATCHDOG_PID", "1", 1);
  EXPECT_EQ(Notifier::watchdog_interval(), std::nullopt);
  ::unsetenv("WATCHDOG_PID");
  ::setenv("WATCHDOG_USEC", "soon", 1);
  EXPECT_EQ(Notifier::watchdog_interval(), std::nullopt);
  ::unsetenv("WATCHDOG_USEC");
  EXPECT_EQ(Notifier::watchdog_interval(), std::nullopt);
}

// Descriptors are handed over from number 3 on, so each case runs in a process of its own. The
// body answers 0 when all is well, or the number of the check that failed.
int in_child(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void hand_over(const char* count, const char* names, pid_t pid) {
  const int null = ::open("/dev/null", O_RDWR);
  for (const int fd : {3, 4}) {
    if (null != fd) ::dup2(null, fd);
  }
  ::setenv("LISTEN_PID", std::to_string(pid).c_str(), 1);
  ::setenv("LISTEN_FDS", count, 1);
  if (names != nullptr) {
    ::setenv("LISTEN_FDNAMES", names, 1);
  } else {
    ::unsetenv("LISTEN_FDNAMES");
  }
}

TEST(InheritedFds, AreNamedOwnedAndClosedOnExec) {
  EXPECT_EQ(in_child([] {
              hand_over("2", "attach:counters-default", ::getpid());
              {
                const auto fds = take_inherited_fds();
                if (fds.size() != 2) return 1;
                if (fds[0].name != "attach" || fds[0].fd.get() != 3) return 2;
                if (fds[1].name != "counters-default" || fds[1].fd.get() != 4) return 3;
                if ((::fcntl(3, F_GETFD) & FD_CLOEXEC) == 0) return 4;
                if (::getenv("LISTEN_FDS") != nullptr) return 5;
                if (::getenv("LISTEN_FDNAMES") != nullptr) return 6;
                if (!take_inherited_fds().empty()) return 7;
              }
              return ::fcntl(3, F_GETFD) == -1 ? 0 : 8;  // the owner has closed them
            }),
            0);
}

TEST(InheritedFds, MayHaveNoNames) {
  EXPECT_EQ(in_child([] {
              hand_over("2", nullptr, ::getpid());
              const auto fds = take_inherited_fds();
              return fds.size() == 2 && fds[0].name == "unknown" ? 0 : 1;
            }),
            0);
}

TEST(InheritedFds, OfAnotherProcessOrWithBrokenCountsAreNotTaken) {
  EXPECT_EQ(in_child([] {
              hand_over("2", "a:b", ::getppid());
              if (!take_inherited_fds().empty()) return 1;
              if (::fcntl(3, F_GETFD) == -1) return 2;
              for (const char* count : {"-1", "x", "", "999999999999"}) {
                hand_over(count, "a:b", ::getpid());
                if (!take_inherited_fds().empty()) return 3;
              }
              hand_over("2", "one-name-too-few", ::getpid());
              return take_inherited_fds().empty() ? 0 : 4;
            }),
            0);
}

}  // namespace
}  // namespace weir
