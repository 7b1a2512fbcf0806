// Every thing that can be wrong has a finding of its own, with what to do; a sound installation has
// none.
#include "agent/cli/doctor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <weir/weir.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "tests/unit/cli/fake_agent.h"

namespace weir::cli {
namespace {

using testing::HasSubstr;

DoctorFacts sound() {
  DoctorFacts facts;
  facts.paths = {"/run/weir", "/run/weir/agent.sock", "/run/weir/admin.sock"};
  facts.runtime_dir.is_directory = true;
  facts.runtime_dir.mode = 0750;
  facts.runtime_dir.gid = 990;
  facts.runtime_dir.may_enter = true;
  facts.attach_socket.is_socket = true;
  facts.admin_socket.is_socket = true;
  facts.uid = 1000;
  facts.user = "ann";
  facts.group = "weir";
  facts.in_group = true;
  facts.attach_state = WEIR_OK;
  facts.heartbeat_fresh = true;
  facts.status = make_status();
  facts.limits = {make_limit("x")};
  facts.cli_version = "0.1.0";
  facts.library_version = "0.1.0";
  facts.rules.file = "/etc/weir/rules.yaml";
  facts.nofile_soft = 1024;
  facts.agent_nofile_soft = 65536;
  return facts;
}

std::vector<Finding> bad(const DoctorFacts& facts) {
  auto findings = judge(facts);
  std::erase_if(findings, [](const Finding& finding) { return finding.severity == Severity::ok; });
  return findings;
}

// The one finding that a fault makes, as "severity check: text -> action".
std::string only(const DoctorFacts& facts) {
  const auto findings = bad(facts);
  std::string text;
  for (const Finding& finding : findings)
    text += std::string{to_text(finding.severity)} + " " + finding.check + ": " + finding.text +
            " -> " + finding.action + "\n";
  EXPECT_EQ(findings.size(), 1U) << text;
  return text;
}

TEST(Doctor, FindsNothingInASoundInstallation) { EXPECT_TRUE(bad(sound()).empty()); }

TEST(Doctor, FindsThatNoAgentEverRan) {
  DoctorFacts facts = sound();
  facts.runtime_dir = {.os_error = ENOENT};
  facts.attach_socket = {.os_error = ENOENT};
  facts.admin_socket = {.os_error = ENOENT};
  facts.attach_os_error = ENOENT;
  facts.attach_state = WEIR_E_NO_AGENT;
  facts.status.reset();
  facts.heartbeat_fresh.reset();
  facts.admin_error = net::Error{net::Failure::no_agent, "no agent"};

  const auto findings = bad(facts);

  ASSERT_EQ(findings.size(), 3U);
  EXPECT_EQ(findings[0].check, "runtime_dir");
  for (const Finding& finding : findings) {
    EXPECT_EQ(finding.severity, Severity::error);
    EXPECT_THAT(finding.action, HasSubstr("systemctl start weir-agent"));
  }
}

TEST(Doctor, FindsWrongModesOfTheDirectory) {
  DoctorFacts facts = sound();
  facts.runtime_dir.mode = 0777;
  EXPECT_THAT(only(facts), HasSubstr("error runtime_dir: /run/weir can be written by everybody"));

  facts = sound();
  facts.runtime_dir.may_enter = false;
  EXPECT_THAT(only(facts), HasSubstr("may not enter /run/weir -> join the group 'weir'"));

  facts = sound();
  facts.runtime_dir.is_directory = false;
  EXPECT_THAT(only(facts), HasSubstr("is not a directory"));
}

TEST(Doctor, TellsALeftoverSocketFromAMissingOne) {
  DoctorFacts facts = sound();
  facts.status.reset();
  facts.admin_error = net::Error{net::Failure::no_agent, "no agent"};
  EXPECT_THAT(only(facts), HasSubstr("admin.sock is a leftover"));

  facts.admin_socket = {.os_error = ENOENT};
  EXPECT_THAT(only(facts), HasSubstr("admin.sock does not exist"));
}

TEST(Doctor, FindsAnAgentThatDoesNotAnswer) {
  DoctorFacts facts = sound();
  facts.status.reset();
  facts.admin_error = net::Error{net::Failure::timeout, "did not answer"};

  EXPECT_THAT(only(facts), HasSubstr("error agent: weir-agent is there and does not answer"));
}

TEST(Doctor, FindsWhyLibweirCannotAttach) {
  DoctorFacts facts = sound();
  facts.attach_state = WEIR_E_NO_AGENT;
  facts.attach_os_error = ECONNREFUSED;
  EXPECT_THAT(only(facts), HasSubstr("agent.sock is a leftover"));

  facts.attach_os_error = ENOENT;
  EXPECT_THAT(only(facts), HasSubstr("`weir status` shows its sockets"));

  facts.attach_os_error = EACCES;
  EXPECT_THAT(only(facts), HasSubstr("may not connect"));

  facts.attach_os_error = 0;
  EXPECT_THAT(only(facts), HasSubstr("listens at /run/weir/agent.sock and does not answer"));

  facts.attach_os_error = EPROTOTYPE;
  EXPECT_THAT(only(facts), HasSubstr("is not an attach socket"));

  facts.attach_os_error = 0;
  facts.attach_state = WEIR_E_VERSION;
  EXPECT_THAT(only(facts), HasSubstr("error versions: libweir 0.1.0"));

  facts.attach_state = WEIR_E_UNTRUSTED;
  EXPECT_THAT(only(facts), HasSubstr("is no weir agent"));

  facts.attach_state = WEIR_E_NOT_ALLOWED;
  EXPECT_THAT(only(facts), HasSubstr("does not serve user ann"));

  facts.attach_state = WEIR_E_BUSY;
  EXPECT_THAT(only(facts), HasSubstr("cannot attach"));
}

// To join root's group would give the user far more than a limit.
TEST(Doctor, NeverAdvisesToJoinTheGroupOfRoot) {
  DoctorFacts facts = sound();
  facts.runtime_dir.gid = 0;
  facts.group = "root";
  facts.in_group = false;
  EXPECT_TRUE(bad(facts).empty());

  facts.attach_state = WEIR_E_NOT_ALLOWED;
  const std::string text = only(facts);
  EXPECT_THAT(text, HasSubstr("under `allow` of the domain"));
  EXPECT_THAT(text, testing::Not(HasSubstr("'root'")));
}

TEST(Doctor, FindsAUserOutsideTheGroup) {
  DoctorFacts facts = sound();
  facts.in_group = false;
  EXPECT_THAT(only(facts), HasSubstr("usermod -aG weir ann"));

  facts.in_group_by_name = true;
  EXPECT_THAT(only(facts), HasSubstr("log out and in again"));

  facts.uid = 0;
  EXPECT_TRUE(bad(facts).empty());
}

TEST(Doctor, FindsAStaleHeartbeat) {
  DoctorFacts facts = sound();
  facts.heartbeat_fresh = false;

  EXPECT_THAT(only(facts), HasSubstr("error heartbeat: "));
}

TEST(Doctor, FindsVersionsThatDiffer) {
  DoctorFacts facts = sound();
  facts.status->set_version("0.2.0");
  EXPECT_THAT(only(facts), HasSubstr("warning versions: weir-agent is 0.2.0"));

  facts = sound();
  facts.cli_version = "0.2.0";
  EXPECT_THAT(only(facts), HasSubstr("warning versions: weir is 0.2.0"));
}

TEST(Doctor, FindsBrokenRules) {
  DoctorFacts facts = sound();
  facts.rules.problems = {"rules.yaml:4:11: unknown unit"};
  EXPECT_THAT(only(facts), HasSubstr("error rules_file: rules.yaml:4:11: unknown unit"));

  facts = sound();
  facts.rules.warnings = {"rules.yaml:4:11: burst too small"};
  EXPECT_THAT(only(facts), HasSubstr("warning rules_file"));

  facts = sound();
  facts.rules.missing = true;
  EXPECT_THAT(only(facts), HasSubstr("does not exist"));

  facts = sound();
  facts.rules.unreadable = "permission denied";
  EXPECT_THAT(only(facts), HasSubstr("info rules_file"));
}

TEST(Doctor, FindsARefusedReload) {
  DoctorFacts facts = sound();
  facts.status->set_rules_error("rules.yaml:1:1: nonsense");

  EXPECT_THAT(only(facts), HasSubstr("error reload: "));
}

TEST(Doctor, FindsLateAndLongTicks) {
  DoctorFacts facts = sound();
  facts.status->set_ticks_late_total(30'000);
  EXPECT_THAT(only(facts), HasSubstr("warning ticks: 3.0 % of the agent's ticks came late"));

  facts = sound();
  facts.status->set_tick_p99_ns(2'000'000);
  EXPECT_THAT(only(facts), HasSubstr("takes longer than the tick itself: 2 ms of 1 ms"));

  facts = sound();
  facts.status->set_ticks_total(10);
  facts.status->set_ticks_late_total(10);
  EXPECT_TRUE(bad(facts).empty()) << "ten ticks say nothing";
}

TEST(Doctor, FindsForgedWords) {
  DoctorFacts facts = sound();
  facts.limits[0].set_forged_total(4);

  EXPECT_THAT(only(facts), HasSubstr("warning forged_words: the agent healed 4 words"));
}

TEST(Doctor, FindsABlindCpuSampler) {
  DoctorFacts facts = sound();
  facts.status->mutable_cpu()->set_blind_reason("/proc/stat is masked");
  EXPECT_THAT(only(facts), HasSubstr("warning cpu: the agent cannot measure the CPU: /proc/stat"));

  facts = sound();
  facts.status->mutable_cpu()->set_age_ms(60'000);
  EXPECT_THAT(only(facts), HasSubstr("1m old"));
}

TEST(Doctor, FindsTooFewFiles) {
  DoctorFacts facts = sound();
  facts.nofile_soft = 16;
  EXPECT_THAT(only(facts), HasSubstr("warning nofile: this shell"));

  facts = sound();
  facts.agent_nofile_soft = 1024;
  EXPECT_THAT(only(facts), HasSubstr("enough for 384 clients"));

  facts.agent_nofile_soft = 260;
  EXPECT_THAT(only(facts), HasSubstr("error nofile"));
}

TEST(Doctor, FindsWhatTheKernelLacks) {
  DoctorFacts facts = sound();
  facts.rseq_registered = false;
  EXPECT_THAT(only(facts), HasSubstr("warning rseq"));

  facts = sound();
  facts.sealing_error = "memfd_create: Operation not permitted";
  EXPECT_THAT(only(facts), HasSubstr("error memfd"));

  facts = sound();
  facts.timens_offset_ns = -3'000'000'000;
  EXPECT_THAT(only(facts), HasSubstr("its clock 3 s behind the host's"));
}

TEST(Doctor, ReportsWhatHappenedInADomain) {
  DoctorFacts facts = sound();
  facts.status->mutable_domains(0)->set_office_lost(true);
  EXPECT_THAT(only(facts), HasSubstr("warning fallback"));

  facts = sound();
  facts.status->mutable_domains(0)->set_refused_total(2);
  EXPECT_THAT(only(facts), HasSubstr("2 attaches were refused"));
}

TEST(DoctorCommand, ExitsByTheWorstFinding) {
  TemporaryDir dir;

  const Ran ran = run(dir.path(), {"doctor", "-o", "json"});

  EXPECT_EQ(ran.exit_code, 2);
  const auto answer = nlohmann::json::parse(ran.out);
  EXPECT_EQ(answer["worst"], "error");
  EXPECT_FALSE(answer["findings"][0]["action"].get<std::string>().empty() &&
               answer["findings"][0]["severity"] != "ok");
}

TEST(DoctorCommand, AsksTheAgentThatIsThere) {
  FakeAgent agent;

  const Ran ran = run(agent.dir(), {"doctor", "--all"});

  EXPECT_EQ(ran.exit_code, 2);  // nobody listens at the attach socket
  EXPECT_THAT(ran.out, HasSubstr("agent: weir-agent answers, pid 4711"));
  EXPECT_THAT(ran.out, HasSubstr("agent.sock does not exist"));
}

}  // namespace
}  // namespace weir::cli
