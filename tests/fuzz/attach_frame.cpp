// Frames from whoever connects to the attach socket, through the real server and a real socket.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

#include "agent/attach/server.h"

using namespace weir;

namespace {

struct Fixture {
  Fixture() {
    char pattern[] = "/tmp/weir-fuzz-XXXXXX";
    if (::mkdtemp(pattern) == nullptr) std::abort();
    directory = pattern;
    DomainRule rule;
    rule.name = "default";
    agent::DomainOptions options;
    options.limits_max = 8;
    options.clients_max = 16;
    options.cpus = 2;
    auto made = agent::Domain::make(
        rule, options, {[this] { return now; }, [] { return std::int64_t{1'700'000'000}; }}, 1, {});
    if (!made) std::abort();
    domain = std::move(*made);
    LimitRule limit;
    limit.name = "a";
    limit.amount = limit.burst = 100;
    limit.period_ns = 1'000'000'000;
    rule.limits.push_back(limit);
    domain->publish(rule);
    server = std::make_unique<agent::AttachServer>(
        io, *domain, 1, [this] { return now; }, [] {});
    if (!server->listen(directory + "/s", {}).empty()) std::abort();
  }
  ~Fixture() {
    server.reset();
    std::filesystem::remove_all(directory);
  }
  std::int64_t now = 1'000'000'000'000;
  boost::asio::io_context io;
  std::string directory;
  std::unique_ptr<agent::Domain> domain;
  std::unique_ptr<agent::AttachServer> server;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Fixture f;
  struct sockaddr_un address {};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, (f.directory + "/s").c_str(), sizeof(address.sun_path) - 1);
  const int fd = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (::connect(fd, reinterpret_cast<const struct sockaddr*>(&address), sizeof(address)) != 0)
    std::abort();
  if (size > 0 && (data[0] & 1) != 0) {
    const shm::Frame hello = shm::make_frame(shm::FrameType::hello, shm::kMajor, shm::kMinor);
    (void)::send(fd, &hello, sizeof(hello), MSG_NOSIGNAL);
  }
  while (size > 0) {
    const std::size_t piece = std::min<std::size_t>(size, data[0] % 4 == 0 ? data[0] : 64);
    if (piece == 0) break;
    (void)::send(fd, data, piece, MSG_NOSIGNAL | MSG_DONTWAIT);
    data += piece;
    size -= piece;
  }
  f.now += 20'000'000;  // an attach every 20 ms is no storm
  f.io.restart();
  f.io.poll();
  f.domain->tick();
  ::close(fd);
  f.io.restart();
  f.io.poll();
  f.server->sweep();
  if (f.server->client_count() != 0) std::abort();
  return 0;
}
