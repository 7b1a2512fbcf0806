#include "tests/support/etcd.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>

namespace weir::test {

std::string etcd_missing() {
  if (std::filesystem::exists("/usr/bin/etcd") && std::filesystem::exists("/usr/bin/etcdctl"))
    return {};
  return "etcd is not installed: scripts/deps.sh test";
}

std::uint16_t free_tcp_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof(address);
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), bytes) != 0 ||
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &bytes) != 0)
    address.sin_port = 0;
  ::close(fd);
  return ::ntohs(address.sin_port);
}

EtcdCluster::EtcdCluster(int members, std::vector<std::string> extra) : extra_(std::move(extra)) {
  for (int i = 0; i < members; ++i) {
    clients_.push_back("127.0.0.1:" + std::to_string(free_tcp_port()));
    peers_.push_back("127.0.0.1:" + std::to_string(free_tcp_port()));
  }
  processes_.resize(clients_.size());
  for (int i = 0; i < members; ++i)
    start(i);
  if (!wait_healthy()) std::fprintf(stderr, "etcd does not answer: %s\n", place_.path().c_str());
}

void EtcdCluster::start(int member) {
  const std::string name = "m" + std::to_string(member);
  std::string all;
  for (std::size_t i = 0; i < peers_.size(); ++i)
    all += (i == 0 ? "m" : ",m") + std::to_string(i) + "=http://" + peers_[i];
  const std::string client = "http://" + clients_.at(index(member));
  const std::string peer = "http://" + peers_.at(index(member));
  SpawnOptions options;
  options.argv = {"/usr/bin/etcd",
                  "--name",
                  name,
                  "--data-dir",
                  place_ / name,
                  "--listen-client-urls",
                  client,
                  "--advertise-client-urls",
                  client,
                  "--listen-peer-urls",
                  peer,
                  "--initial-advertise-peer-urls",
                  peer,
                  "--initial-cluster",
                  all,
                  "--initial-cluster-token",
                  place_.path(),
                  "--logger",
                  "zap",
                  "--log-level",
                  "error"};
  options.argv.insert(options.argv.end(), extra_.begin(), extra_.end());
  options.output = place_ / (name + ".log");
  processes_.at(index(member)) = Process::spawn(options);
}

std::vector<std::string> EtcdCluster::endpoints() const { return clients_; }

std::string EtcdCluster::ctl(const std::string& arguments, int* exit_code) const {
  std::string all;
  for (const std::string& each : clients_)
    all += (all.empty() ? "" : ",") + each;
  const std::string command =
      "ETCDCTL_API=3 timeout 10 etcdctl --command-timeout=3s --endpoints=" + all + " " + arguments +
      " 2>&1";
  std::string text;
  std::FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return "popen";
  char buffer[4096];
  for (std::size_t got; (got = std::fread(buffer, 1, sizeof(buffer), pipe)) > 0;)
    text.append(buffer, got);
  const int status = ::pclose(pipe);
  if (exit_code != nullptr) *exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return text;
}

int EtcdCluster::leader() const {
  const std::string text = ctl("endpoint status -w fields");
  // One block a member that answers: its endpoint comes last, its own id and the leader's before.
  std::string member, leader;
  std::size_t at = 0;
  const auto value = [](const std::string& line) { return line.substr(line.find(" : ") + 3); };
  while (at < text.size()) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    if (line.starts_with("\"MemberID\" :")) member = value(line);
    if (line.starts_with("\"Leader\" :")) leader = value(line);
    if (!line.starts_with("\"Endpoint\" :") || member.empty() || member != leader) continue;
    for (std::size_t i = 0; i < clients_.size(); ++i)
      if (line.find(clients_[i]) != std::string::npos) return static_cast<int>(i);
  }
  return -1;
}

bool EtcdCluster::wait_healthy(int timeout_ms) const {
  return eventually(
      [this] {
        int code = -1;
        ctl("endpoint health", &code);
        return code == 0;
      },
      timeout_ms);
}

}  // namespace weir::test
