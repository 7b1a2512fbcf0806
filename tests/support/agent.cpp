#include "tests/support/agent.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "net/admin_client.h"

namespace weir::test {

namespace {

// The value of NAME= in a notification, or nothing.
std::optional<std::string> value_of(const std::string& text, const std::string& name) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    if (line.rfind(name + "=", 0) == 0) return line.substr(name.size() + 1);
  return std::nullopt;
}

}  // namespace

ServiceManager::ServiceManager(const std::string& dir) : address_(dir + "/notify.sock") {
  socket_.reset(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  struct sockaddr_un at {};
  at.sun_family = AF_UNIX;
  std::strncpy(at.sun_path, address_.c_str(), sizeof(at.sun_path) - 1);
  const int on = 1;
  if (::bind(socket_.get(), reinterpret_cast<const struct sockaddr*>(&at), sizeof(at)) != 0 ||
      ::setsockopt(socket_.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) != 0 ||
      ::chmod(address_.c_str(), 0666) != 0) {
    std::perror("notify socket");
    std::abort();
  }
}

bool ServiceManager::read_one(pid_t& sender, std::string& text) {
  char bytes[4096];
  alignas(struct cmsghdr) char control[256];
  struct iovec part {
    bytes, sizeof(bytes)
  };
  struct msghdr message {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  const ssize_t got = ::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC);
  if (got < 0) return false;
  text.assign(bytes, static_cast<std::size_t>(got));
  sender = 0;
  shm::Fd fd;
  for (struct cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET) continue;
    if (c->cmsg_type == SCM_CREDENTIALS) {
      struct ucred who {};
      std::memcpy(&who, CMSG_DATA(c), sizeof(who));
      sender = who.pid;
    } else if (c->cmsg_type == SCM_RIGHTS) {
      int received = -1;
      std::memcpy(&received, CMSG_DATA(c), sizeof(received));
      fd.reset(received);
    }
  }
  ++messages_;
  keep(text, std::move(fd));
  return true;
}

void ServiceManager::keep(const std::string& text, shm::Fd fd) {
  const auto name = value_of(text, "FDNAME");
  if (!name) return;
  if (value_of(text, "FDSTOREREMOVE") == "1") store_.erase(*name);
  if (value_of(text, "FDSTORE") == "1" && fd) store_[*name] = std::move(fd);
}

void ServiceManager::drain() {
  pid_t sender = 0;
  std::string text;
  while (read_one(sender, text)) {
  }
}

bool ServiceManager::wait_ready(Process& process, int timeout_ms) {
  const std::int64_t until = now_ns() + std::int64_t{timeout_ms} * 1'000'000;
  const pid_t wanted = process.pid();
  for (;;) {
    pid_t sender = 0;
    std::string text;
    while (read_one(sender, text))
      if (sender == wanted && value_of(text, "READY") == "1") return true;
    if (now_ns() >= until || state_of(wanted) == 'Z' || state_of(wanted) == '?') return false;
    struct pollfd entry {
      socket_.get(), POLLIN, 0
    };
    ::poll(&entry, 1, 20);
  }
}

Agent::Agent(AgentOptions options) : options_(std::move(options)), manager_(dir_.path()) {
  write_text(rules_file(), options_.rules);
  ::chmod(dir_.path().c_str(), 0755);
  if (options_.uid) open_to_all(dir_.path());
}

Agent::~Agent() {
  process_.kill9();
  if (std::getenv("WEIR_TEST_SHOW_LOG") != nullptr) std::fputs(log().c_str(), stderr);
}

void Agent::launch() {
  manager_.drain();
  SpawnOptions spawn;
  spawn.argv = {WEIR_BINARY_DIR "/bin/weir-agent",
                "--runtime-dir",
                dir_.path(),
                "--rules",
                rules_file(),
                "--http",
                "off",
                "--log-level",
                "warn",
                "--log-format",
                "text"};
  spawn.argv.insert(spawn.argv.end(), options_.args.begin(), options_.args.end());
  spawn.env = options_.env;
  spawn.env["NOTIFY_SOCKET"] = manager_.address();
  if (options_.store_fds) {
    std::string names;
    for (const auto& [name, fd] : manager_.store()) {
      spawn.fds.push_back(fd.get());
      names += (names.empty() ? "" : ":") + name;
    }
    if (!spawn.fds.empty()) {
      spawn.env["LISTEN_FDS"] = std::to_string(spawn.fds.size());
      spawn.env["LISTEN_FDNAMES"] = names;
    }
  }
  spawn.output = dir_ / "agent.log";
  spawn.limits = options_.limits;
  spawn.uid = options_.uid;
  spawn.in_child = options_.in_child;
  process_ = Process::spawn(spawn);
}

bool Agent::start() {
  launch();
  if (wait_ready()) return true;
  std::fprintf(stderr, "the agent did not start:\n%s\n", log().c_str());
  return false;
}

bool Agent::stop() {
  process_.signal(SIGTERM);
  return process_.exit_code() == 0;
}

void Agent::freeze() {
  process_.signal(SIGSTOP);
  eventually([&] { return state_of(pid()) == 'T'; });
}

void Agent::thaw() { process_.signal(SIGCONT); }

v1::AdminResponse Agent::ask(const v1::AdminRequest& request) const {
  auto client = net::AdminClient::connect(dir_ / "admin.sock", std::chrono::seconds(10));
  if (!client) return {};
  auto answer = client->call(request);
  return answer ? *answer : v1::AdminResponse{};
}

v1::StatusResponse Agent::status() const {
  v1::AdminRequest request;
  request.mutable_status();
  return ask(request).status();
}

std::optional<v1::LimitStatus> Agent::limit(const std::string& name) const {
  v1::AdminRequest request;
  request.mutable_limits()->set_name(name);
  const v1::AdminResponse answer = ask(request);
  if (answer.limits().limits_size() == 0) return std::nullopt;
  return answer.limits().limits(0);
}

v1::ClusterReport Agent::cluster(v1::ClusterTopic topic, const std::string& name) const {
  v1::AdminRequest request;
  request.mutable_cluster()->set_topic(topic);
  request.mutable_cluster()->set_limit_name(name);
  return ask(request).cluster();
}

v1::ResourcesResponse Agent::resources() const {
  v1::AdminRequest request;
  request.mutable_resources();
  return ask(request).resources();
}

std::uint32_t Agent::clients() const {
  v1::AdminRequest request;
  request.mutable_clients();
  return static_cast<std::uint32_t>(ask(request).clients().clients_size());
}

std::uint64_t Agent::doorbells() const {
  v1::AdminRequest request;
  request.mutable_clients();
  const v1::AdminResponse response = ask(request);
  std::uint64_t sum = 0;
  for (const v1::ClientStatus& client : response.clients().clients())
    sum += client.doorbells_total();
  return sum;
}

v1::ApplyResponse Agent::apply(const std::string& rules) const {
  v1::AdminRequest request;
  request.mutable_apply()->set_text(rules);
  return ask(request).apply();
}

std::string rules_of(const std::vector<std::string>& limits) {
  std::string text =
      "version: 1\ndomains:\n  - {name: default, allow: {users: [65534]}}\nlimits:\n";
  for (const std::string& limit : limits)
    text += "  - {" + limit + "}\n";
  return text;
}

SpawnOptions worker(const std::vector<std::string>& words) {
  SpawnOptions spawn;
  const char* named = std::getenv("WEIR_WORKER");
  spawn.argv = {std::string(WEIR_BINARY_DIR "/tests/") +
                (named != nullptr ? named : "weir_worker")};
  spawn.argv.insert(spawn.argv.end(), words.begin(), words.end());
  return spawn;
}

}  // namespace weir::test
