#include "tests/support/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

extern char** environ;

namespace weir::test {

namespace {

constexpr int kFirstFd = 3;
constexpr int kMovedFd = 200;

// Everything that allocates is done before the fork: only calls that are safe then remain.
struct Prepared {
  std::vector<std::string> env_text;
  std::vector<char*> argv, env;
  std::vector<int> fds;
  int output = -1;
};

Prepared prepare(const SpawnOptions& options) {
  Prepared p;
  for (char** each = environ; *each != nullptr; ++each) {
    const std::string text = *each;
    if (!options.env.contains(text.substr(0, text.find('=')))) p.env_text.push_back(text);
  }
  for (const auto& [name, value] : options.env)
    p.env_text.push_back(name + "=" + value);
  // systemd's protocol names the process that the descriptors are for: filled in by the child.
  if (!options.fds.empty()) p.env_text.push_back("LISTEN_PID=0000000000");
  for (std::string& text : p.env_text)
    p.env.push_back(text.data());
  p.env.push_back(nullptr);
  for (const std::string& text : options.argv)
    p.argv.push_back(const_cast<char*>(text.c_str()));
  p.argv.push_back(nullptr);
  p.fds = options.fds;
  if (!options.output.empty())
    p.output = ::open(options.output.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  return p;
}

// Without leading zeros, which libsystemd would take for octal.
void write_own_pid(char* text) {
  int digits = 1;
  for (pid_t rest = ::getpid() / 10; rest > 0; rest /= 10)
    ++digits;
  text[digits] = '\0';
  for (pid_t rest = ::getpid(); digits > 0; rest /= 10)
    text[--digits] = static_cast<char>('0' + rest % 10);
}

[[noreturn]] void become(const SpawnOptions& options, Prepared& p) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (p.output >= 0) {
    ::dup2(p.output, STDOUT_FILENO);
    ::dup2(p.output, STDERR_FILENO);
  }
  // Out of the way first: a descriptor may already have another one's number.
  for (int& fd : p.fds)
    fd = ::fcntl(fd, F_DUPFD, kMovedFd);
  for (std::size_t i = 0; i < p.fds.size(); ++i) {
    ::dup2(p.fds[i], kFirstFd + static_cast<int>(i));
    ::close(p.fds[i]);
  }
  if (!p.fds.empty()) write_own_pid(p.env[p.env.size() - 2] + std::strlen("LISTEN_PID="));
  for (const auto& [resource, value] : options.limits) {
    const struct rlimit limit { value, value };
    ::setrlimit(static_cast<__rlimit_resource_t>(resource), &limit);
  }
  if (options.uid) {
    if (::setgroups(0, nullptr) != 0 ||
        ::setresgid(*options.uid, *options.uid, *options.uid) != 0 ||
        ::setresuid(*options.uid, *options.uid, *options.uid) != 0)
      ::_exit(126);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // a change of user forgets it
  }
  if (options.in_child) options.in_child();
  ::execve(p.argv[0], p.argv.data(), p.env.data());
  ::_exit(127);
}

std::string stat_field(pid_t pid, int wanted) {
  // Counted from the state, which follows the name in parentheses.
  const std::string text = read_text("/proc/" + std::to_string(pid) + "/stat");
  const std::size_t at = text.rfind(')');
  if (at == std::string::npos) return {};
  std::istringstream fields(text.substr(at + 1));
  std::string field;
  for (int i = 0; i <= wanted; ++i)
    fields >> field;
  return field;
}

}  // namespace

Process Process::spawn(const SpawnOptions& options) {
  Prepared p = prepare(options);
  Process process;
  process.pid_ = ::fork();
  if (process.pid_ == 0) become(options, p);
  if (p.output >= 0) ::close(p.output);
  process.pidfd_.reset(static_cast<int>(::syscall(SYS_pidfd_open, process.pid_, 0)));
  if (process.pid_ < 0 || !process.pidfd_) {
    std::perror("starting a process");
    std::abort();
  }
  return process;
}

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), pidfd_(std::move(other.pidfd_)) {}

Process& Process::operator=(Process&& other) noexcept {
  if (this != &other) {
    kill9();
    pid_ = std::exchange(other.pid_, -1);
    pidfd_ = std::move(other.pidfd_);
  }
  return *this;
}

Process::~Process() { kill9(); }

void Process::signal(int number) const {
  if (pid_ > 0) ::syscall(SYS_pidfd_send_signal, pidfd_.get(), number, nullptr, 0);
}

void Process::kill9() {
  if (pid_ <= 0) return;
  signal(SIGKILL);
  (void)wait();
}

std::optional<int> Process::wait(int timeout_ms) {
  if (pid_ <= 0) return std::nullopt;
  struct pollfd entry {
    pidfd_.get(), POLLIN, 0
  };
  const std::int64_t until = now_ns() + std::int64_t{timeout_ms} * 1'000'000;
  for (std::int64_t left = until - now_ns(); left > 0; left = until - now_ns())
    if (::poll(&entry, 1, static_cast<int>(left / 1'000'000 + 1)) == 1) {
      int status = 0;
      ::waitpid(pid_, &status, 0);
      pid_ = -1;
      return status;
    }
  return std::nullopt;
}

int Process::exit_code(int timeout_ms) {
  const auto status = wait(timeout_ms);
  return status && WIFEXITED(*status) ? WEXITSTATUS(*status) : -1;
}

TempDir::TempDir() {
  char name[] = "/tmp/weir-test-XXXXXX";
  if (::mkdtemp(name) == nullptr) {
    std::perror("mkdtemp");
    std::abort();
  }
  path_ = name;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

bool eventually(const std::function<bool()>& condition, int timeout_ms) {
  const std::int64_t until = now_ns() + std::int64_t{timeout_ms} * 1'000'000;
  for (;;) {
    if (condition()) return true;
    if (now_ns() >= until) return false;
    const struct timespec pause { 0, 2'000'000 };
    ::nanosleep(&pause, nullptr);
  }
}

std::int64_t now_ns() {
  struct timespec now {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

bool is_root() { return ::geteuid() == 0; }

int count_fds(pid_t pid) {
  const std::string path = "/proc/" + std::to_string(pid) + "/fd";
  DIR* dir = ::opendir(path.c_str());
  if (dir == nullptr) return -1;
  int count = 0;
  while (const struct dirent* entry = ::readdir(dir))
    if (entry->d_name[0] != '.') ++count;
  ::closedir(dir);
  return count;
}

std::uint64_t resident_bytes(pid_t pid) {
  std::istringstream fields(read_text("/proc/" + std::to_string(pid) + "/statm"));
  std::uint64_t size = 0, resident = 0;
  fields >> size >> resident;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

double cpu_seconds(pid_t pid) {
  constexpr int kUserTime = 11, kSystemTime = 12;
  const std::string user = stat_field(pid, kUserTime), system = stat_field(pid, kSystemTime);
  if (user.empty() || system.empty()) return 0;
  return (std::stod(user) + std::stod(system)) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

char state_of(pid_t pid) {
  const std::string state = stat_field(pid, 0);
  return state.empty() ? '?' : state[0];
}

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

void open_to_all(const std::string& dir) { ::chmod(dir.c_str(), 0777); }

double chaos_seconds(double otherwise) {
  const char* given = std::getenv("WEIR_CHAOS_SECONDS");
  return given == nullptr ? otherwise : std::max(otherwise, std::atof(given));
}

}  // namespace weir::test
