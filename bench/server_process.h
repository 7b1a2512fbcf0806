// weir-server as a process, for what is measured over its sockets.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

namespace weir::bench {

inline sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

inline std::uint16_t free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = loopback(0);
  socklen_t bytes = sizeof(address);
  (void)::bind(fd, reinterpret_cast<sockaddr*>(&address), bytes);
  (void)::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &bytes);
  ::close(fd);
  return ntohs(address.sin_port);
}

// weir-server beside this program, with its store in that directory.
class ServerProcess {
 public:
  ServerProcess(const std::string& directory, const std::string& quotas) : port_(free_port()) {
    const std::string file = directory + "/server.yaml";
    std::ofstream(file) << "version: 1\nlisten: 127.0.0.1:" << port_
                        << "\nhttp: off\ninsecure: true\nstate_dir: "
                        << std::filesystem::absolute(directory).lexically_normal().string()
                        << "/state\nstore: {unsafe: true}\n"  // for a --dir in memory; it is told
                        << "namespaces:\n  bench:\n    guard: 10M\n    limits: []\n    quotas:\n"
                        << quotas;
    std::filesystem::create_directories(directory + "/state");
    const std::string program =
        (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "weir-server").string();
    pid_ = ::fork();
    if (pid_ != 0) return;
    ::execl(program.c_str(), program.c_str(), "--config", file.c_str(), "--log-level", "error",
            static_cast<char*>(nullptr));
    ::_exit(127);
  }
  ~ServerProcess() {
    ::kill(pid_, SIGTERM);
    ::waitpid(pid_, nullptr, 0);
  }
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;
  std::uint16_t port() const { return port_; }
  bool running() const { return ::waitpid(pid_, nullptr, WNOHANG) == 0; }

 private:
  std::uint16_t port_;
  pid_t pid_ = -1;
};

}  // namespace weir::bench
