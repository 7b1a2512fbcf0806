#include "bench/host.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>
#include <utility>

#include "shm/fd.h"

namespace weir::bench {

namespace fs = std::filesystem;

namespace {

constexpr int kStartWaitMs = 10'000;
constexpr int kStopWaitMs = 3'000;
constexpr int kStepMs = 10;

std::string read_all(const fs::path& path) {
  const std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

bool answers(const std::string& path) {
  const shm::Fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  struct sockaddr_un address {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return false;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return fd && ::connect(fd.get(), reinterpret_cast<const struct sockaddr*>(&address),
                         sizeof(address)) == 0;
}

}  // namespace

std::string admit_limit(std::uint32_t variant) { return "bench/admit/" + std::to_string(variant); }

std::string bench_rules() {
  // The bursts are so large that no slice comes near their end. The striped one is smaller: a
  // quarter of it lies on the stripes, and they are dealt out of what is minted.
  std::ostringstream text;
  text << "version: 1\nlimits:\n";
  for (std::uint32_t i = 0; i < kVariants; ++i)
    text << "  - {name: " << admit_limit(i) << ", rate: 1G/s, burst: 500000000000, stripes: off}\n";
  text << "  - {name: " << kStripedLimit << ", rate: 1G/s, burst: 64000000, stripes: on}\n"
       << "  - {name: " << kReserveLimit << ", rate: 1G/s, burst: 500000000000, stripes: off, "
       << "priority: {sheddable: 20%}}\n"
       << "  - {name: " << kRefuseLimit << ", rate: 1/d, burst: 1, stripes: off}\n"
       << "  - {name: " << kSaturatedLimit << ", rate: " << kSaturatedRate
       << "/s, burst: 10000, stripes: off}\n";
  return text.str();
}

std::string idle_rules(int limits) {
  std::ostringstream text;
  text << "version: 1\nlimits:\n";
  for (int i = 0; i < limits; ++i)
    text << "  - {name: idle/" << i << ", rate: 1000/s}\n";
  return text.str();
}

std::string default_agent_path() {
  if (const char* named = ::getenv("WEIR_AGENT"); named != nullptr && *named != '\0') return named;
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  return error ? "weir-agent" : (self.parent_path() / "weir-agent").string();
}

bool AgentProcess::fail(std::string why) {
  error_ = std::move(why);
  stop();
  return false;
}

bool AgentProcess::start(const std::string& program, const std::string& rules,
                         const AgentExtras& extras) {
  stop();
  if (::access(program.c_str(), X_OK) != 0)
    return fail(program + " is missing or not executable; build the target weir-agent first");
  std::string dir = (fs::temp_directory_path() / "weir-bench-XXXXXX").string();
  if (::mkdtemp(dir.data()) == nullptr) return fail("cannot make " + dir);
  dir_ = dir;
  socket_path_ = dir_ + "/agent.sock";
  std::ofstream(dir_ + "/rules.yaml") << rules;
  if (!spawn(program, extras)) return false;
  return wait_for_socket();
}

bool AgentProcess::spawn(const std::string& program, const AgentExtras& extras) {
  const std::string rules = dir_ + "/rules.yaml";
  const std::string log = dir_ + "/agent.log";
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ < 0) return fail("fork failed");
  if (pid_ > 0) return true;
  // An agent that outlived an interrupted measurement would disturb the next one.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);
  const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (out >= 0) {
    ::dup2(out, STDOUT_FILENO);
    ::dup2(out, STDERR_FILENO);
  }
  if (extras.in_child) extras.in_child();
  std::vector<std::string> words{"weir-agent", "--runtime-dir", dir_,          "--rules", rules,
                                 "--http",     "off",           "--log-level", "warn"};
  words.insert(words.end(), extras.arguments.begin(), extras.arguments.end());
  std::vector<char*> arguments;
  for (std::string& word : words)
    arguments.push_back(word.data());
  arguments.push_back(nullptr);
  ::execv(program.c_str(), arguments.data());
  ::_exit(127);
}

bool AgentProcess::wait_for_socket() {
  for (int waited = 0; waited < kStartWaitMs; waited += kStepMs) {
    if (answers(socket_path_)) return true;
    if (::waitpid(pid_, nullptr, WNOHANG) == pid_) {
      pid_ = -1;
      return fail("the agent ended at once:\n" + read_all(dir_ + "/agent.log"));
    }
    ::usleep(kStepMs * 1000);
  }
  return fail("the agent does not answer at " + socket_path_ + ":\n" +
              read_all(dir_ + "/agent.log"));
}

void AgentProcess::stop() {
  if (pid_ > 0) {
    ::kill(pid_, SIGTERM);
    for (int waited = 0; ::waitpid(pid_, nullptr, WNOHANG) == 0; waited += kStepMs) {
      if (waited >= kStopWaitMs) ::kill(pid_, SIGKILL);
      ::usleep(kStepMs * 1000);
    }
    pid_ = -1;
  }
  std::error_code ignored;
  if (!dir_.empty()) fs::remove_all(dir_, ignored);
  dir_.clear();
}

std::uint64_t AgentProcess::cpu_ns() const {
  // A process's own schedstat counts its first thread alone.
  std::uint64_t sum = 0;
  std::error_code error;
  const fs::path tasks = "/proc/" + std::to_string(pid_) + "/task";
  for (const auto& task : fs::directory_iterator(tasks, error)) {
    std::ifstream file(task.path() / "schedstat");
    std::uint64_t ran_ns = 0;
    if (file >> ran_ns) sum += ran_ns;
  }
  return sum;
}

}  // namespace weir::bench
