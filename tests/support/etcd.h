// Real members of etcd for tests, on free ports of loopback, in a directory of their own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/process.h"

namespace weir::test {

// Empty when etcd is installed; else why a test with it cannot run.
std::string etcd_missing();
std::uint16_t free_tcp_port();

class EtcdCluster {
 public:
  // Starts that many members and waits until they answer. `extra` is for each of them.
  explicit EtcdCluster(int members, std::vector<std::string> extra = {});

  std::vector<std::string> endpoints() const;  // host:port
  const std::string& endpoint(int member) const { return clients_.at(index(member)); }
  int members() const { return static_cast<int>(clients_.size()); }
  Process& member(int member) { return processes_.at(index(member)); }
  void start(int member);  // again, with what it has stored
  int leader() const;      // -1: nobody says so
  bool wait_healthy(int timeout_ms = kHangMs) const;
  // The output of etcdctl with these arguments, of the first endpoint or of all.
  std::string ctl(const std::string& arguments, int* exit_code = nullptr) const;

 private:
  static std::size_t index(int member) { return static_cast<std::size_t>(member); }

  TempDir place_;
  std::vector<std::string> extra_;
  std::vector<std::string> clients_, peers_;
  std::vector<Process> processes_;
};

}  // namespace weir::test
