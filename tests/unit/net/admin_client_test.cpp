// Whoever listens at the admin socket may be slow, wrong or gone. The client ends in time and says
// what it found.
#include "net/admin_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>

namespace weir::net {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

class SocketDir {
 public:
  SocketDir() {
    char pattern[] = "/tmp/weir-net-test-XXXXXX";
    dir_ = ::mkdtemp(pattern);
  }
  ~SocketDir() {
    ::unlink(path().c_str());
    ::rmdir(dir_.c_str());
  }
  std::string path() const { return dir_ + "/admin.sock"; }
  const std::string& dir() const { return dir_; }

 private:
  std::string dir_;
};

int listen_at(const std::string& path, int type = SOCK_STREAM) {
  const int fd = ::socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  EXPECT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  EXPECT_EQ(::listen(fd, 4), 0);
  return fd;
}

// Takes one connection and does to it what the test says.
class Peer {
 public:
  Peer(const std::string& path, std::function<void(int)> serve)
      : listener_(listen_at(path)), thread_([this, serve = std::move(serve)] {
          const int fd = ::accept(listener_, nullptr, nullptr);
          if (fd < 0) return;
          serve(fd);
          ::close(fd);
        }) {}
  ~Peer() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }

 private:
  int listener_;
  std::thread thread_;
};

void read_request(int fd) {
  char bytes[4096];
  (void)!::read(fd, bytes, sizeof(bytes));
}

void write_all(int fd, const std::string& bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::send(fd, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
    if (n <= 0) return;
    done += static_cast<std::size_t>(n);
  }
}

// Until the client has hung up.
void wait_for_hangup(int fd) {
  char byte = 0;
  while (::recv(fd, &byte, 1, 0) > 0) {
  }
}

v1::AdminRequest status_request() {
  v1::AdminRequest request;
  request.mutable_status();
  return request;
}

Result<v1::AdminResponse> ask(const std::string& path, milliseconds timeout = milliseconds{5000}) {
  auto client = AdminClient::connect(path, timeout);
  if (!client) return client.error();
  return client->call(status_request());
}

TEST(AdminClient, ReceivesAnAnswerThatDripsIn) {
  SocketDir dir;
  const Peer peer{dir.path(), [](int fd) {
                    read_request(fd);
                    v1::AdminResponse response;
                    response.mutable_status()->set_version("1.2.3");
                    for (const char byte : encode_frame(response))
                      write_all(fd, {byte});
                  }};

  const auto response = ask(dir.path());

  ASSERT_TRUE(response) << response.error().text;
  EXPECT_EQ(response->status().version(), "1.2.3");
}

TEST(AdminClient, AsksManyTimesOnOneConnection) {
  SocketDir dir;
  const Peer peer{dir.path(), [](int fd) {
                    for (int i = 0; i < 3; ++i) {
                      read_request(fd);
                      v1::AdminResponse response;
                      response.mutable_status()->set_pid(i);
                      write_all(fd, encode_frame(response));
                    }
                  }};
  auto client = AdminClient::connect(dir.path(), milliseconds{5000});
  ASSERT_TRUE(client);

  for (int i = 0; i < 3; ++i) {
    const auto response = client->call(status_request());
    ASSERT_TRUE(response) << response.error().text;
    EXPECT_EQ(response->status().pid(), i);
  }
}

TEST(AdminClient, HandsOnTheAgentsErrorText) {
  SocketDir dir;
  const Peer peer{dir.path(), [](int fd) {
                    read_request(fd);
                    v1::AdminResponse response;
                    response.set_error("you may not");
                    write_all(fd, encode_frame(response));
                  }};

  const auto response = ask(dir.path());

  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().kind, Failure::refused);
  EXPECT_EQ(response.error().text, "you may not");
}

TEST(AdminClient, SaysThatNoAgentIsThere) {
  SocketDir dir;

  const auto response = ask(dir.path());

  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().kind, Failure::no_agent);
  EXPECT_THAT(response.error().text, HasSubstr(dir.path()));
  EXPECT_THAT(response.error().text, HasSubstr("Is weir-agent running?"));
}

TEST(AdminClient, TellsALeftoverSocketFromAMissingOne) {
  SocketDir dir;
  ::close(listen_at(dir.path()));

  const auto response = ask(dir.path());

  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().kind, Failure::no_agent);
  EXPECT_THAT(response.error().text, HasSubstr("leftover"));
}

TEST(AdminClient, SaysThatThisUserMayNotConnect) {
  constexpr uid_t kNobody = 65534;
  SocketDir dir;
  const int fd = listen_at(dir.path());
  ::chmod(dir.path().c_str(), 0);
  // Root may connect to everything, so it becomes somebody else for a moment.
  const bool was_root = ::geteuid() == 0;
  if (was_root && ::seteuid(kNobody) != 0) GTEST_SKIP() << "root cannot change its user here";

  const auto response = ask(dir.path());
  if (was_root) {
    ASSERT_EQ(::seteuid(0), 0);
  }
  ::close(fd);

  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().kind, Failure::not_allowed);
}

TEST(AdminClient, RefusesASocketOfAnotherType) {
  SocketDir dir;
  const int fd = listen_at(dir.path(), SOCK_SEQPACKET);

  const auto response = ask(dir.path());
  ::close(fd);

  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().kind, Failure::invalid);
}

TEST(AdminClient, RefusesAPathThatNoSocketCanHave) {
  const auto response = ask("/" + std::string(200, 'x'));

  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().kind, Failure::invalid);
}

TEST(AdminClient, EndsInTimeWhenNobodyAnswers) {
  SocketDir dir;
  const Peer peer{dir.path(), wait_for_hangup};

  const auto response = ask(dir.path(), milliseconds{30});

  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().kind, Failure::timeout);
}

// A peer that sends a byte every few milliseconds is alive all the time and never done.
TEST(AdminClient, EndsInTimeWhenTheAnswerNeverEnds) {
  SocketDir dir;
  const Peer peer{dir.path(), [](int fd) {
                    std::string head{"\x00\x00\x80\x00", 4};
                    write_all(fd, head);
                    pollfd entry{fd, 0, 0};
                    while (::poll(&entry, 1, 2) == 0)
                      write_all(fd, "x");
                  }};
  const auto begin = std::chrono::steady_clock::now();

  const auto response = ask(dir.path(), milliseconds{60});

  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().kind, Failure::timeout);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds{5});
}

TEST(AdminClient, HangsUpOnAFrameThatIsTooLarge) {
  SocketDir dir;
  const Peer peer{dir.path(), [](int fd) {
                    write_all(fd, "\xff\xff\xff\xff");
                    wait_for_hangup(fd);
                  }};

  const auto response = ask(dir.path());

  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().kind, Failure::broken);
  EXPECT_THAT(response.error().text, HasSubstr("4294967295"));
}

TEST(AdminClient, SaysThatTheAnswerIsGarbage) {
  SocketDir dir;
  const Peer peer{dir.path(), [](int fd) {
                    read_request(fd);
                    write_all(fd, std::string{"\x04\x00\x00\x00\xff\xff\xff\xff", 8});
                    wait_for_hangup(fd);
                  }};

  const auto response = ask(dir.path());

  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().kind, Failure::broken);
  EXPECT_THAT(response.error().text, HasSubstr("could not be read"));
}

TEST(AdminClient, TellsAHangUpFromATruncatedAnswer) {
  SocketDir dir;
  {
    const Peer peer{dir.path(), read_request};
    const auto response = ask(dir.path());
    ASSERT_FALSE(response);
    EXPECT_THAT(response.error().text, HasSubstr("without an answer"));
  }
  ::unlink(dir.path().c_str());
  const Peer peer{dir.path(), [](int fd) {
                    read_request(fd);
                    write_all(fd, std::string{"\x08\x00\x00\x00xx", 6});
                  }};

  const auto response = ask(dir.path());

  ASSERT_FALSE(response);
  EXPECT_THAT(response.error().text, HasSubstr("in the middle"));
}

TEST(AdminClient, ReadsTheReasonOfAnAgentThatHangsUpAtOnce) {
  SocketDir dir;
  const Peer peer{dir.path(), [](int fd) {
                    v1::AdminResponse response;
                    response.set_error("not for this user");
                    write_all(fd, encode_frame(response));
                    ::shutdown(fd, SHUT_RDWR);
                  }};
  auto client = AdminClient::connect(dir.path(), milliseconds{5000});
  ASSERT_TRUE(client);
  v1::AdminRequest request;
  request.mutable_apply()->set_text(std::string(8U << 20, 'x'));

  const auto response = client->call(request);

  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().text, "not for this user");
}

TEST(AdminClient, SendsALargeRequestWhole) {
  SocketDir dir;
  std::atomic<std::size_t> received{0};
  const Peer peer{dir.path(), [&](int fd) {
                    FrameReader reader;
                    std::string chunk(kReadChunkBytes, '\0');
                    while (true) {
                      const ssize_t n = ::read(fd, chunk.data(), chunk.size());
                      if (n <= 0) return;
                      reader.push({chunk.data(), static_cast<std::size_t>(n)});
                      if (const auto payload = reader.next()) {
                        received = payload->size();
                        write_all(fd, encode_frame(v1::AdminResponse{}));
                        return;
                      }
                    }
                  }};
  auto client = AdminClient::connect(dir.path(), milliseconds{20'000});
  ASSERT_TRUE(client);
  v1::AdminRequest request;
  request.mutable_apply()->set_text(std::string(15U << 20, 'x'));

  const auto response = client->call(request);

  ASSERT_TRUE(response) << response.error().text;
  EXPECT_EQ(received, request.ByteSizeLong());
}

TEST(AdminClient, RefusesARequestThatIsTooLarge) {
  SocketDir dir;
  const Peer peer{dir.path(), wait_for_hangup};
  auto client = AdminClient::connect(dir.path(), milliseconds{5000});
  ASSERT_TRUE(client);
  v1::AdminRequest request;
  request.mutable_apply()->set_text(std::string(kFrameBytesMax, 'x'));

  const auto response = client->call(request);

  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().kind, Failure::invalid);
}

TEST(AdminClient, StaysClosedAfterItGaveUp) {
  SocketDir dir;
  const Peer peer{dir.path(), wait_for_hangup};
  auto client = AdminClient::connect(dir.path(), milliseconds{20});
  ASSERT_TRUE(client);
  ASSERT_FALSE(client->call(status_request()));

  const auto again = client->call(status_request());

  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().kind, Failure::broken);
}

}  // namespace
}  // namespace weir::net
