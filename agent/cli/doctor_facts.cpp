// Looks at the machine. What cannot be seen stays at its default; the judge says so where it
// counts.
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <weir/weir.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>

#include "agent/cli/doctor.h"
#include "agent/cli/version.h"
#include "rules/file.h"
#include "rules/parse.h"
#include "shm/clock.h"
#include "shm/fd.h"
#include "shm/segment.h"
#include "shm/stripe.h"

namespace weir::cli {

namespace {

constexpr std::size_t kRulesBytesMax = 16U << 20;
constexpr int kGroupsMax = 4096;
constexpr std::size_t kDatabaseBytes = 65536;

PathFacts look_at(const std::string& path) {
  PathFacts facts;
  struct stat found {};
  if (::stat(path.c_str(), &found) != 0) {
    facts.os_error = errno;
    return facts;
  }
  facts.is_directory = S_ISDIR(found.st_mode);
  facts.is_socket = S_ISSOCK(found.st_mode);
  facts.mode = found.st_mode & 07777;
  facts.uid = found.st_uid;
  facts.gid = found.st_gid;
  facts.may_enter = ::access(path.c_str(), X_OK) == 0;
  return facts;
}

void look_at_user(DoctorFacts& facts) {
  facts.uid = ::geteuid();
  std::vector<char> text(kDatabaseBytes);
  passwd user{};
  passwd* found_user = nullptr;
  (void)::getpwuid_r(facts.uid, &user, text.data(), text.size(), &found_user);
  facts.user = found_user != nullptr ? user.pw_name : std::to_string(facts.uid);
  if (facts.runtime_dir.os_error != 0) return;
  const gid_t wanted = facts.runtime_dir.gid;
  std::array<gid_t, kGroupsMax> groups{};
  const int count = std::max(::getgroups(kGroupsMax, groups.data()), 0);
  facts.in_group = ::getegid() == wanted || std::find(groups.begin(), groups.begin() + count,
                                                      wanted) != groups.begin() + count;
  if (found_user != nullptr) {
    int by_name = kGroupsMax;
    if (::getgrouplist(user.pw_name, user.pw_gid, groups.data(), &by_name) >= 0)
      facts.in_group_by_name =
          std::find(groups.begin(), groups.begin() + by_name, wanted) != groups.begin() + by_name;
  }
  std::vector<char> group_text(kDatabaseBytes);
  group entry{};
  group* found_group = nullptr;
  (void)::getgrgid_r(wanted, &entry, group_text.data(), group_text.size(), &found_group);
  facts.group = found_group != nullptr ? entry.gr_name : std::to_string(wanted);
}

int connect_error(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return ENAMETOOLONG;
  std::memcpy(address.sun_path, path.data(), path.size());
  const shm::Fd fd{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!fd) return errno;
  const int rc = ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  return rc == 0 ? 0 : errno;
}

// Attaches as an application does, and reads the heartbeat through any limit of the agent.
void look_through_library(DoctorFacts& facts) {
  weir_options options{};
  options.struct_bytes = sizeof(options);
  options.connect_timeout_ms = 1000;
  options.socket_path = facts.paths.attach_socket.c_str();
  options.require_agent = 1;
  options.label = "weir doctor";
  weir_client* client = nullptr;
  facts.attach_state = weir_open(&options, &client);
  if (facts.attach_state != WEIR_OK) return;
  for (const auto& limit : facts.limits) {
    weir_limit* handle = nullptr;
    weir_limit_info info{};
    info.struct_bytes = sizeof(info);
    if (weir_limit_get(client, limit.name().c_str(), nullptr, &handle) != WEIR_OK) continue;
    if (weir_limit_read(handle, &info) != WEIR_OK || info.shared == 0) continue;
    facts.heartbeat_fresh = info.agent_alive != 0;
    break;
  }
  weir_close(client);
}

void ask_agent(const Context& context, DoctorFacts& facts) {
  auto client = net::AdminClient::connect(facts.paths.admin_socket, kCallTimeout);
  if (!client) {
    facts.admin_error = client.error();
    return;
  }
  v1::AdminRequest request;
  request.mutable_status();
  auto answer = client->call(request);
  if (!answer) {
    facts.admin_error = answer.error();
  } else if (!answer->has_status()) {
    facts.admin_error = unexpected_answer(context.paths.admin_socket);
  } else {
    facts.status = answer->status();
    if (auto limits = fetch_limits(*client, "", "")) facts.limits = std::move(*limits);
  }
}

RulesFacts look_at_rules(std::string file) {
  RulesFacts facts;
  facts.file = std::move(file);
  const weir::FileText text = weir::read_file(facts.file, kRulesBytesMax);
  facts.missing = text.missing;
  if (text.missing) return facts;
  facts.unreadable = text.error;
  if (!text.error.empty()) return facts;
  const weir::ParseResult parsed = weir::parse_rules(text.text, facts.file);
  for (const auto& problem : parsed.problems)
    facts.problems.push_back(weir::to_string(problem));
  if (parsed.ok())
    for (const auto& warning : parsed.rules->warnings)
      facts.warnings.push_back(weir::to_string(warning));
  return facts;
}

std::string try_sealing() {
  constexpr std::size_t kBytes = 4096;
  const auto describe = [](const shm::Error& error) {
    std::string text = error.what;
    if (error.os_error != 0) text += std::string{": "} + std::strerror(error.os_error);
    return text;
  };
  auto segment = shm::make_segment("weir.doctor", kBytes);
  if (!segment) return describe(segment.error());
  if (auto sealed = shm::seal_segment(segment->get(), shm::SegmentKind::rules); !sealed)
    return describe(sealed.error());
  return {};
}

// The agent's own number counts only if it is the same process in our view of the processes.
std::optional<std::uint64_t> agent_nofile(std::int64_t pid) {
  const std::string proc = "/proc/" + std::to_string(pid) + "/";
  std::string name;
  std::ifstream comm{proc + "comm"};
  if (!std::getline(comm, name) || name != "weir-agent") return std::nullopt;
  std::ifstream limits{proc + "limits"};
  constexpr std::string_view kTitle = "Max open files";
  for (std::string line; std::getline(limits, line);) {
    if (!line.starts_with(kTitle)) continue;
    std::istringstream words{line.substr(kTitle.size())};
    std::uint64_t soft = 0;
    if (words >> soft) return soft;
    return UINT64_MAX;  // "unlimited"
  }
  return std::nullopt;
}

}  // namespace

DoctorFacts collect_facts(const Context& context, const std::string& rules_file) {
  DoctorFacts facts;
  facts.paths = context.paths;
  facts.runtime_dir = look_at(facts.paths.runtime_dir);
  facts.attach_socket = look_at(facts.paths.attach_socket);
  facts.admin_socket = look_at(facts.paths.admin_socket);
  look_at_user(facts);
  ask_agent(context, facts);
  facts.attach_os_error = connect_error(facts.paths.attach_socket);
  look_through_library(facts);
  facts.cli_version = kVersion;
  facts.library_version = weir_version();
  std::string file = rules_file;
  if (file.empty() && facts.status) file = facts.status->rules_file();
  facts.rules = look_at_rules(file.empty() ? kDefaultRulesFile : file);
  facts.rseq_built = shm::kRseqAvailable;
  facts.rseq_registered = shm::rseq_area_offset() != 0;
  facts.sealing_error = try_sealing();
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) facts.nofile_soft = files.rlim_cur;
  if (facts.status) facts.agent_nofile_soft = agent_nofile(facts.status->pid());
  facts.timens_offset_ns = shm::read_timens_offset_ns();
  return facts;
}

}  // namespace weir::cli
