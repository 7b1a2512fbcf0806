#include <weir/weir.h>

#include <cerrno>
#include <cstring>

#include "agent/cli/doctor.h"

namespace weir::cli {

namespace {

constexpr std::uint64_t kClientNofileMin = 64;
constexpr std::uint64_t kAgentNofileMin = 4096;
constexpr std::uint64_t kAgentNofileBase = 256;  // what it needs besides its clients
constexpr std::uint64_t kTicksMin = 1000;        // before a share of late ones says anything
constexpr std::uint64_t kLatePermilleMax = 10;
constexpr std::uint64_t kCpuAgeMaxMs = 5000;
constexpr std::uint32_t kWorldWritable = 0002;

class Judge {
 public:
  explicit Judge(const DoctorFacts& facts) : facts_(facts) {}
  std::vector<Finding> all();

 private:
  void runtime_dir();
  void attach_socket();
  void agent();
  void heartbeat();
  void versions();
  void group();
  void rules();
  void reload();
  void ticks();
  void words();
  void cpu();
  void domains();
  void files();
  void kernel();

  void add(Severity severity, std::string check, std::string text, std::string action = {}) {
    findings_.push_back({severity, std::move(check), std::move(text), std::move(action)});
  }
  std::string no_agent_action() const {
    return "start it (systemctl start weir-agent), or name its directory by --runtime-dir";
  }
  std::string hanging_action() const {
    return "see what it does: journalctl -u weir-agent; a stopped one goes on with kill -CONT";
  }
  // A directory of root's group says nothing of who may attach, and nobody should join that.
  bool has_own_group() const { return facts_.runtime_dir.gid != 0; }
  std::string join_action() const {
    return has_own_group() ? "join the group '" + facts_.group + "'" : "ask root";
  }

  const DoctorFacts& facts_;
  std::vector<Finding> findings_;
};

std::vector<Finding> Judge::all() {
  runtime_dir();
  agent();
  attach_socket();
  group();
  heartbeat();
  versions();
  rules();
  reload();
  ticks();
  words();
  cpu();
  domains();
  files();
  kernel();
  return std::move(findings_);
}

void Judge::runtime_dir() {
  const PathFacts& dir = facts_.runtime_dir;
  const std::string& path = facts_.paths.runtime_dir;
  if (dir.os_error == ENOENT || dir.os_error == ENOTDIR) {
    add(Severity::error, "runtime_dir", path + " does not exist: no agent ever ran with it",
        no_agent_action());
  } else if (dir.os_error != 0) {
    add(Severity::error, "runtime_dir",
        path + " cannot be looked at: " + std::strerror(dir.os_error),
        "be root or a member of the group that owns it");
  } else if (!dir.is_directory) {
    add(Severity::error, "runtime_dir", path + " is not a directory",
        "remove it and restart weir-agent, which makes it");
  } else if ((dir.mode & kWorldWritable) != 0) {
    add(Severity::error, "runtime_dir",
        path + " can be written by everybody: anybody could put a socket of their own there",
        "chmod o-w " + path);
  } else if (!dir.may_enter) {
    add(Severity::error, "runtime_dir", "this user may not enter " + path, join_action());
  } else {
    add(Severity::ok, "runtime_dir", path + " is there and may be entered");
  }
}

void Judge::agent() {
  if (facts_.status) {
    add(Severity::ok, "agent", "weir-agent answers, pid " + std::to_string(facts_.status->pid()));
    return;
  }
  if (!facts_.admin_error) return;
  const net::Error& error = *facts_.admin_error;
  switch (error.kind) {
    case net::Failure::no_agent:
      if (facts_.admin_socket.os_error == 0)
        add(Severity::error, "admin_socket",
            facts_.paths.admin_socket + " is a leftover: nobody listens there", no_agent_action());
      else
        add(Severity::error, "admin_socket", facts_.paths.admin_socket + " does not exist",
            no_agent_action());
      return;
    case net::Failure::timeout:
      add(Severity::error, "agent", "weir-agent is there and does not answer: " + error.text,
          hanging_action());
      return;
    case net::Failure::not_allowed:
      add(Severity::warning, "admin_socket", error.text,
          "run `weir doctor` as root to see everything");
      return;
    case net::Failure::broken:
    case net::Failure::refused:
    case net::Failure::invalid:
      add(Severity::error, "agent", "no good answer: " + error.text,
          "compare the versions of weir and weir-agent; see journalctl -u weir-agent");
      return;
  }
}

void Judge::attach_socket() {
  const std::string& path = facts_.paths.attach_socket;
  if (facts_.attach_state == WEIR_OK) {
    add(Severity::ok, "attach_socket", "libweir attaches at " + path);
    return;
  }
  const std::string why = std::string{": "} + weir_strerror(facts_.attach_state);
  switch (facts_.attach_os_error) {
    case ENOENT:
    case ENOTDIR:
      add(Severity::error, "attach_socket", path + " does not exist",
          facts_.status ? "the agent listens elsewhere: `weir status` shows its sockets; set "
                          "WEIR_SOCKET or --socket"
                        : no_agent_action());
      return;
    case ECONNREFUSED:
      add(Severity::error, "attach_socket", path + " is a leftover: nobody listens there",
          no_agent_action());
      return;
    case EACCES:
    case EPERM:
      add(Severity::error, "attach_socket", "this user may not connect to " + path, join_action());
      return;
    case EPROTOTYPE:
    case ENOTSOCK:
      add(Severity::error, "attach_socket", path + " is not an attach socket",
          "set --socket or WEIR_SOCKET to agent.sock in the runtime directory");
      return;
    default:
      break;
  }
  if (facts_.attach_state == WEIR_E_VERSION) {
    add(Severity::error, "versions",
        "libweir " + facts_.library_version + " and the agent have different major layouts" + why,
        "install the same major version of both, then restart the agent and the applications");
  } else if (facts_.attach_state == WEIR_E_UNTRUSTED) {
    add(Severity::error, "attach_socket", "whoever answers at " + path + " is no weir agent" + why,
        "find out who owns it: ss -xlp | grep " + path);
  } else if (facts_.attach_state == WEIR_E_NOT_ALLOWED) {
    add(Severity::error, "attach_socket", "the agent does not serve user " + facts_.user + why,
        "name the user, or one of the user's groups, under `allow` of the domain in the rules "
        "file" +
            (has_own_group() ? ", or join the group '" + facts_.group + "'" : std::string{}));
  } else if (facts_.attach_state == WEIR_E_NO_AGENT && facts_.attach_os_error == 0) {
    add(Severity::error, "attach_socket", "somebody listens at " + path + " and does not answer",
        hanging_action());
  } else {
    add(Severity::error, "attach_socket", "libweir cannot attach at " + path + why,
        "see journalctl -u weir-agent for the reason");
  }
}

void Judge::group() {
  if (facts_.uid == 0 || facts_.runtime_dir.os_error != 0 || facts_.in_group || !has_own_group())
    return;
  const Severity severity = facts_.attach_state == WEIR_OK ? Severity::info : Severity::error;
  const std::string text = "user " + facts_.user + " is not in the group '" + facts_.group +
                           "' of the runtime directory";
  if (facts_.in_group_by_name)
    add(severity, "group", text + " in this session, only since a later change",
        "log out and in again, or start a shell by `newgrp " + facts_.group + "`");
  else
    add(severity, "group", text,
        "usermod -aG " + facts_.group + " " + facts_.user + ", then log in again");
}

void Judge::heartbeat() {
  if (!facts_.heartbeat_fresh) return;
  if (*facts_.heartbeat_fresh)
    add(Severity::ok, "heartbeat", "the agent's heartbeat in shared memory is fresh");
  else
    add(Severity::error, "heartbeat",
        "the agent's heartbeat in shared memory is stale: processes use the fallback of each limit",
        "the agent is stopped or starved of CPU; see journalctl -u weir-agent and its CPU quota");
}

void Judge::versions() {
  if (facts_.cli_version != facts_.library_version)
    add(Severity::warning, "versions",
        "weir is " + facts_.cli_version + ", libweir is " + facts_.library_version,
        "install the same version of both");
  if (!facts_.status) return;
  if (facts_.status->version() != facts_.library_version)
    add(Severity::warning, "versions",
        "weir-agent is " + facts_.status->version() + ", libweir is " + facts_.library_version,
        "install the same version; restart weir-agent after an upgrade");
  else
    add(Severity::ok, "versions", "weir, libweir and weir-agent are " + facts_.library_version);
}

void Judge::rules() {
  const RulesFacts& rules = facts_.rules;
  if (rules.missing) {
    add(Severity::warning, "rules_file", rules.file + " does not exist",
        "write one; weir-rules(5) has an example");
  } else if (!rules.unreadable.empty()) {
    add(Severity::info, "rules_file", rules.file + " was not checked: " + rules.unreadable,
        "run `weir doctor` as root to check it");
  }
  for (const std::string& problem : rules.problems)
    add(Severity::error, "rules_file", problem,
        "repair the line; the agent keeps its old rules, and would not start with this file");
  for (const std::string& warning : rules.warnings)
    add(Severity::warning, "rules_file", warning, "see weir-rules(5)");
  if (!rules.missing && rules.unreadable.empty() && rules.problems.empty() &&
      rules.warnings.empty())
    add(Severity::ok, "rules_file", rules.file + " is in order");
}

void Judge::reload() {
  if (!facts_.status || facts_.status->rules_error().empty()) return;
  add(Severity::error, "reload",
      "the agent refused the last reload and runs its old rules: " + facts_.status->rules_error(),
      "repair the file, then `weir rules apply`");
}

void Judge::ticks() {
  if (!facts_.status || facts_.status->ticks_total() < kTicksMin) return;
  const v1::StatusResponse& status = *facts_.status;
  const std::uint64_t permille = status.ticks_late_total() / (status.ticks_total() / 1000);
  if (permille >= kLatePermilleMax)
    add(Severity::warning, "ticks",
        format_permille(static_cast<std::uint32_t>(std::min<std::uint64_t>(permille, 1000))) +
            " of the agent's ticks came late: tokens arrive in larger portions",
        "give weir-agent more CPU (CPUWeight=, Nice=, no CPUQuota= in its unit)");
  else
    add(Severity::ok, "ticks", "the agent's ticks are on time");
  if (status.tick_us() != 0 && status.tick_p99_ns() > status.tick_us() * 1000)
    add(Severity::warning, "ticks",
        "one tick in a hundred takes longer than the tick itself: " +
            format_duration(status.tick_p99_ns()) + " of " +
            format_duration(status.tick_us() * 1000),
        "fewer limits, or more CPU for weir-agent");
}

void Judge::words() {
  std::uint64_t forged = 0;
  std::string names;
  std::size_t named = 0;
  constexpr std::size_t kNamesMax = 3;
  for (const auto& limit : facts_.limits) {
    if (limit.forged_total() == 0) continue;
    forged += limit.forged_total();
    if (++named <= kNamesMax) names += (names.empty() ? "" : ", ") + limit.name();
  }
  if (forged == 0) return;
  if (named > kNamesMax) names += " and others";
  add(Severity::warning, "forged_words",
      "the agent healed " + plural(forged, "word", "words") +
          " of shared memory that no correct "
          "client writes (" +
          names + ")",
      "some process of the domain writes wildly or means harm: `weir clients` names them; give "
      "untrusted ones a domain of their own");
}

void Judge::cpu() {
  if (!facts_.status) return;
  const v1::CpuStatus& cpu = facts_.status->cpu();
  if (!cpu.blind_reason().empty() || cpu.source().empty() || cpu.source() == "none")
    add(Severity::warning, "cpu",
        "the agent cannot measure the CPU" +
            (cpu.blind_reason().empty() ? std::string{} : ": " + cpu.blind_reason()),
        "let the agent read /proc/stat and /sys/fs/cgroup (ProtectProc=, ProcSubset= in its unit)");
  else if (cpu.age_ms() > kCpuAgeMaxMs)
    add(Severity::warning, "cpu",
        "the agent's last CPU sample is " + format_duration(cpu.age_ms() * 1'000'000) + " old",
        "the agent is starved of CPU, or hangs in /proc; see journalctl -u weir-agent");
  else
    add(Severity::ok, "cpu", "the CPU is measured (" + cpu.source() + ")");
}

void Judge::domains() {
  if (!facts_.status) return;
  for (const auto& domain : facts_.status->domains()) {
    if (domain.office_lost())
      add(Severity::warning, "fallback",
          "domain " + domain.name() +
              ": its clients mint by themselves; the agent waits to take "
              "over again",
          "nothing, if it passes in a few seconds; else the agent is starved of CPU");
    if (domain.refused_total() != 0)
      add(Severity::info, "domain",
          "domain " + domain.name() + ": " +
              plural(domain.refused_total(), "attach was", "attaches were") + " refused",
          "journalctl -u weir-agent says who asked and why not");
  }
}

void Judge::files() {
  if (facts_.nofile_soft != 0 && facts_.nofile_soft < kClientNofileMin)
    add(Severity::warning, "nofile",
        "this shell may open only " + std::to_string(facts_.nofile_soft) +
            " files; libweir needs a few in each process",
        "ulimit -n 1024");
  if (!facts_.agent_nofile_soft || !facts_.status) return;
  std::uint64_t clients = 0;
  for (const auto& domain : facts_.status->domains())
    clients += domain.clients();
  const std::uint64_t soft = *facts_.agent_nofile_soft;
  const std::uint64_t needed = 2 * clients + kAgentNofileBase;  // a socket and a pidfd for each
  if (soft < needed)
    add(Severity::error, "nofile",
        "the agent may open " + std::to_string(soft) + " files and has " +
            plural(clients, "client", "clients") + ", two files each",
        "LimitNOFILE=65536 in the unit, then restart weir-agent");
  else if (soft < kAgentNofileMin)
    add(Severity::warning, "nofile",
        "the agent may open only " + std::to_string(soft) + " files, enough for " +
            std::to_string((soft - kAgentNofileBase) / 2) + " clients",
        "LimitNOFILE=65536 in the unit, then restart weir-agent");
}

void Judge::kernel() {
  if (!facts_.rseq_built)
    add(Severity::info, "rseq", "built without restartable sequences: stripes are not used");
  else if (!facts_.rseq_registered)
    add(Severity::warning, "rseq",
        "restartable sequences are not available: striped limits use their central word, which is "
        "right and slower",
        "needs Linux 4.18 and glibc 2.35; unset glibc.pthread.rseq=0 in GLIBC_TUNABLES");
  else
    add(Severity::ok, "rseq", "restartable sequences are available");
  if (!facts_.sealing_error.empty())
    add(Severity::error, "memfd", "shared memory cannot be sealed here: " + facts_.sealing_error,
        "needs Linux 5.1, and a seccomp filter that allows memfd_create and fcntl(F_ADD_SEALS)");
  else
    add(Severity::ok, "memfd", "shared memory can be made and sealed");
  if (facts_.timens_offset_ns != 0) {
    const bool ahead = facts_.timens_offset_ns > 0;
    const auto bits = static_cast<std::uint64_t>(facts_.timens_offset_ns);
    const std::uint64_t offset = ahead ? bits : 0 - bits;
    add(Severity::info, "time_namespace",
        "this process is in a time namespace, its clock " + format_duration(offset) +
            (ahead ? " ahead of" : " behind") + " the host's; libweir corrects for that");
  }
}

}  // namespace

std::vector<Finding> judge(const DoctorFacts& facts) { return Judge{facts}.all(); }

std::string_view to_text(Severity severity) noexcept {
  switch (severity) {
    case Severity::ok:
      return "ok";
    case Severity::info:
      return "info";
    case Severity::warning:
      return "warning";
    case Severity::error:
      return "error";
  }
  return "";
}

}  // namespace weir::cli
