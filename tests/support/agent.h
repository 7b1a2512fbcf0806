// A real agent in a directory of its own, under a service manager of ours.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/process.h"
#include "weir/v1/admin.pb.h"

namespace weir::test {

// As much of systemd as the agent needs: hears READY=1 and keeps descriptors over restarts.
class ServiceManager {
 public:
  explicit ServiceManager(const std::string& dir);
  const std::string& address() const { return address_; }

  // Waits until this process has said READY=1 (false: it ended or the time passed).
  bool wait_ready(Process& process, int timeout_ms = kHangMs);
  // Reads what has been sent so far, as a manager would before it starts the unit again.
  void drain();
  void forget_fds() { store_.clear(); }
  const std::map<std::string, shm::Fd>& store() const { return store_; }
  std::uint64_t messages() const { return messages_; }

 private:
  bool read_one(pid_t& sender, std::string& text);
  void keep(const std::string& text, shm::Fd fd);

  std::string address_;
  shm::Fd socket_;
  std::map<std::string, shm::Fd> store_;
  std::uint64_t messages_ = 0;
};

struct AgentOptions {
  std::string rules = {};  // YAML
  bool store_fds = true;   // give back what the agent before left with the manager
  std::map<std::string, std::string> env = {};
  std::vector<std::pair<int, rlim_t>> limits = {};
  std::vector<std::string> args = {};
  std::optional<uid_t> uid = {};
  std::function<void()> in_child = {};
};

class Agent {
 public:
  explicit Agent(AgentOptions options);
  ~Agent();

  // Starts (again) and waits for READY=1. A start that must fail is started with launch() alone.
  bool start();
  void launch();
  bool wait_ready(int timeout_ms = kHangMs) { return manager_.wait_ready(process_, timeout_ms); }
  void kill9() { process_.kill9(); }
  bool stop();    // SIGTERM, and the exit code is 0
  void freeze();  // SIGSTOP, and it has stopped
  void thaw();

  Process& process() { return process_; }
  pid_t pid() const { return process_.pid(); }
  AgentOptions& options() { return options_; }
  ServiceManager& manager() { return manager_; }
  const TempDir& dir() const { return dir_; }
  std::string socket() const { return dir_ / "agent.sock"; }
  std::string rules_file() const { return dir_ / "rules.yaml"; }
  std::string log() const { return read_text(dir_ / "agent.log"); }

  v1::StatusResponse status() const;
  std::optional<v1::LimitStatus> limit(const std::string& name) const;
  v1::ResourcesResponse resources() const;
  // What its token server says of a limit or a resource: the first page.
  v1::ClusterReport cluster(v1::ClusterTopic topic, const std::string& name = {}) const;
  std::uint32_t clients() const;    // attached now
  std::uint64_t doorbells() const;  // that they rang
  v1::ApplyResponse apply(const std::string& rules) const;

 private:
  v1::AdminResponse ask(const v1::AdminRequest& request) const;

  AgentOptions options_;
  TempDir dir_;
  ServiceManager manager_;
  Process process_;
};

// A rules file with one domain that everybody may use, and these limits (one YAML flow map each).
std::string rules_of(const std::vector<std::string>& limits);

// A worker process: tests/support/worker.cpp says what the words mean. $WEIR_WORKER names another
// program of the same kind.
SpawnOptions worker(const std::vector<std::string>& words);

}  // namespace weir::test
