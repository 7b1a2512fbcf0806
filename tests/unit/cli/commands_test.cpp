// What each command asks the agent, prints and exits with.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/unit/cli/fake_agent.h"

namespace weir::cli {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

std::vector<std::string> keys_of(const json& object) {
  std::vector<std::string> keys;
  for (const auto& item : object.items())
    keys.push_back(item.key());
  return keys;  // sorted
}

TEST(Status, TellsWhatTheAgentTells) {
  FakeAgent agent;

  const Ran ran = run(agent.dir(), {"status"});

  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("weir-agent 0.1.0, pid 4711, up 1h 2m"));
  EXPECT_THAT(ran.out, HasSubstr("/etc/weir/rules.yaml, generation 3, loaded 5 s ago"));
  EXPECT_THAT(ran.out, HasSubstr("12.5 % of 2 CPUs (cgroup_v2)"));
  EXPECT_THAT(ran.out, Not(HasSubstr("Last reload")));
}

TEST(Status, ShowsWhyAReloadWasRefused) {
  Answers answers;
  answers.status.set_rules_error("rules.yaml:3:1: no such thing\x1b[2J");
  FakeAgent agent{answers};

  const Ran ran = run(agent.dir(), {"status"});

  EXPECT_THAT(ran.out, HasSubstr("refused: rules.yaml:3:1: no such thing\\x1b[2J"));
}

// The keys are a promise to scripts: new ones may come, none may go or change its name.
TEST(Status, JsonKeysAreStable) {
  FakeAgent agent;

  const json answer = json::parse(run(agent.dir(), {"status", "-o", "json"}).out);

  EXPECT_THAT(
      keys_of(answer),
      ElementsAre("agent_epoch", "counters_adopted", "cpu", "domains", "http_address", "pid",
                  "rules_error", "rules_file", "rules_generation", "rules_loaded_ms_ago",
                  "runtime_dir", "tick_p50_ns", "tick_p99_ns", "tick_us", "ticks_late_total",
                  "ticks_total", "upstream", "uptime_ms", "version"));
  EXPECT_EQ(answer["agent_epoch"], "18446744073709551615");
  EXPECT_THAT(
      keys_of(answer["domains"][0]),
      ElementsAre("attached_total", "clients", "counters_bytes", "limits", "name", "office_lost",
                  "reaped_total", "refused_total", "rules_bytes", "socket", "waiting"));
  EXPECT_THAT(keys_of(answer["cpu"]),
              ElementsAre("age_ms", "blind_reason", "capacity_millicpus", "host_usage_permille",
                          "psi_some_avg10_centipercent", "smoothed_permille", "source",
                          "throttled_permille", "usage_permille"));
}

// A figure that the agent does not have travels as 0. It must not be read as an idle machine.
TEST(Status, ShowsNoCpuFigureThatWasNotMeasured) {
  Answers answers;
  answers.status.mutable_cpu()->Clear();
  answers.status.mutable_cpu()->set_source("none");
  answers.status.mutable_cpu()->set_blind_reason("/proc/stat cannot be read");
  FakeAgent agent{answers};

  const Ran ran = run(agent.dir(), {"status"});
  const json cpu = json::parse(run(agent.dir(), {"status", "-o", "json"}).out)["cpu"];

  EXPECT_THAT(ran.out, HasSubstr("not measured: /proc/stat cannot be read"));
  EXPECT_THAT(ran.out, Not(HasSubstr("0.0 %")));
  for (const char* key :
       {"usage_permille", "smoothed_permille", "capacity_millicpus", "age_ms", "throttled_permille",
        "psi_some_avg10_centipercent", "host_usage_permille"})
    EXPECT_TRUE(cpu[key].is_null()) << key;
}

TEST(Status, ShowsTheValueFromBeforeAShortBlindness) {
  Answers answers;
  answers.status.mutable_cpu()->set_blind_reason("counters ran backwards or jumped");
  FakeAgent agent{answers};

  const Ran ran = run(agent.dir(), {"status"});
  const json cpu = json::parse(run(agent.dir(), {"status", "-o", "json"}).out)["cpu"];

  EXPECT_THAT(ran.out, HasSubstr("not measured now: counters ran backwards or jumped; before "
                                 "that 12.5 %"));
  EXPECT_TRUE(cpu["usage_permille"].is_null());
  EXPECT_EQ(cpu["smoothed_permille"], 125);
}

TEST(Status, AMeasuredZeroIsAZero) {
  Answers answers;
  answers.status.mutable_cpu()->set_smoothed_permille(0);
  answers.status.mutable_cpu()->set_throttled_permille(0);
  FakeAgent agent{answers};

  const json cpu = json::parse(run(agent.dir(), {"status", "-o", "json"}).out)["cpu"];

  EXPECT_THAT(run(agent.dir(), {"status"}).out, HasSubstr("0.0 % of 2 CPUs"));
  EXPECT_EQ(cpu["smoothed_permille"], 0);
  EXPECT_EQ(cpu["throttled_permille"], 0);
}

TEST(Status, TellsTheFallbacksAndWhetherTheyAreInForce) {
  Answers answers;
  FakeAgent calm{answers};
  answers.status.mutable_domains(0)->set_office_lost(true);
  FakeAgent lost{answers};

  EXPECT_THAT(run(calm.dir(), {"status"}).out,
              HasSubstr("not in force; without the agent: 2 local"));
  EXPECT_THAT(run(lost.dir(), {"status"}).out, HasSubstr("in force in default: its clients mint"));
}

TEST(List, PrintsALimitALine) {
  FakeAgent agent;

  const Ran ran = run(agent.dir(), {"list"});

  EXPECT_EQ(ran.exit_code, 0);
  EXPECT_EQ(ran.out,
            "NAME        ALGORITHM      RATE  BURST  TOKENS  ADMITTED/S  REFUSED/S  WAITING\n"
            "/api/order  token_bucket  300/s    600     450         120          3        0\n"
            "/api/pay    token_bucket  300/s    600     450           0          0        0\n");
}

TEST(List, LeavesOutTitlesOnDemand) {
  FakeAgent agent;

  EXPECT_THAT(run(agent.dir(), {"list", "--no-header"}).out, Not(HasSubstr("NAME")));
}

TEST(List, ShowsDomainsWhenThereAreSeveral) {
  Answers answers;
  answers.limits[1].set_domain("batch");
  FakeAgent agent{answers};

  EXPECT_THAT(run(agent.dir(), {"list"}).out, HasSubstr("DOMAIN"));
}

TEST(List, TakesAPatternAndAnOrder) {
  Answers answers;
  answers.limits.push_back(make_limit("other", 500));
  FakeAgent agent{answers};

  EXPECT_EQ(run(agent.dir(), {"list", "--names", "/api/*"}).out, "/api/order\n/api/pay\n");
  EXPECT_EQ(run(agent.dir(), {"list", "--names", "--sort", "admitted"}).out,
            "other\n/api/order\n/api/pay\n");
}

TEST(List, EscapesNames) {
  Answers answers;
  answers.limits = {make_limit("\x1b]0;owned\x07\n")};
  FakeAgent agent{answers};

  EXPECT_EQ(run(agent.dir(), {"list", "--names"}).out, "\\x1b]0;owned\\x07\\n\n");
  EXPECT_THAT(run(agent.dir(), {"list"}).out, Not(HasSubstr("\x1b")));
  const Ran as_json = run(agent.dir(), {"list", "-o", "json"});
  EXPECT_THAT(as_json.out, Not(HasSubstr("\x1b")));
  EXPECT_EQ(json::parse(as_json.out)["limits"][0]["name"], "\x1b]0;owned\x07\n");
}

TEST(List, JsonIsAsciiWhateverTheNames) {
  Answers answers;
  answers.limits = {
      make_limit("\xc2\x9b"
                 "31m größe\x7f")};
  FakeAgent agent{answers};

  const std::string out = run(agent.dir(), {"list", "-o", "json"}).out;

  for (const char c : out)
    EXPECT_TRUE(c == '\n' || (c >= 0x20 && c < 0x7f));
}

TEST(List, JsonKeysAreStable) {
  FakeAgent agent;

  const json answer = json::parse(run(agent.dir(), {"-o", "json", "list"}).out);

  EXPECT_THAT(
      keys_of(answer["limits"][0]),
      ElementsAre("algorithm", "amount", "burst", "calendar", "description", "domain", "fallback",
                  "fallback_after_ms", "fallback_text", "forged_total", "generation", "index",
                  "lease", "level", "line", "lost_total", "minted_total", "name", "next_edge_ms",
                  "owed", "period_ns", "rate_text", "refused_per_s", "refused_total", "reserve",
                  "retried_total", "spent_per_s", "spent_total", "striped", "timezone", "waiting"));
}

TEST(Show, ExplainsTheLimit) {
  FakeAgent agent;

  const Ran ran = run(agent.dir(), {"show", "/api/order"});

  EXPECT_EQ(ran.exit_code, 0);
  EXPECT_THAT(ran.out, HasSubstr("Token bucket: tokens flow in at 300/s"));
  EXPECT_THAT(ran.out, HasSubstr("450 of 600 (75.0 %)"));
  EXPECT_THAT(ran.out, HasSubstr("line 7 of the rules file"));
}

TEST(Show, SuggestsANameThatExists) {
  FakeAgent agent;

  const Ran ran = run(agent.dir(), {"show", "/api/ordr"});

  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_THAT(ran.err, HasSubstr("no limit '/api/ordr'. Did you mean '/api/order'?"));
}

TEST(Show, NamesTheClientsThatWait) {
  Answers answers;
  answers.limits[0].set_waiting(2);
  answers.limits[0].set_owed(5);
  auto& client = answers.clients.emplace_back();
  client.set_domain("default");
  client.set_pid(99);
  client.set_label("worker");
  client.set_waiting(2);
  FakeAgent agent{answers};

  const Ran ran = run(agent.dir(), {"show", "/api/order"});

  EXPECT_THAT(ran.out, HasSubstr("2 calls wait for 5 tokens"));
  EXPECT_THAT(ran.out, HasSubstr("worker"));
}

TEST(Clients, EscapesLabelsAndCommands) {
  Answers answers;
  auto& client = answers.clients.emplace_back();
  client.set_pid(99);
  client.set_label("evil\x1b[31m");
  client.set_command("/bin/x\r--rm");
  FakeAgent agent{answers};

  const Ran ran = run(agent.dir(), {"clients"});

  EXPECT_EQ(ran.exit_code, 0);
  EXPECT_THAT(ran.out, HasSubstr("evil\\x1b[31m"));
  EXPECT_THAT(ran.out, HasSubstr("/bin/x\\r--rm"));
}

TEST(Clients, JsonKeysAreStable) {
  Answers answers;
  answers.clients.emplace_back();
  FakeAgent agent{answers};

  const json answer = json::parse(run(agent.dir(), {"clients", "-o", "json"}).out);

  EXPECT_THAT(keys_of(answer["clients"][0]),
              ElementsAre("attached_ms", "command", "domain", "doorbells_total", "gid", "label",
                          "major", "minor", "pid", "uid", "waiting"));
}

TEST(Version, ComparesAllParts) {
  FakeAgent agent;

  EXPECT_THAT(run(agent.dir(), {"version"}).out, HasSubstr("weir-agent  0.1.0"));
  EXPECT_THAT(run("/nonexistent", {"version"}).out, HasSubstr("did not answer"));
  EXPECT_EQ(run("/nonexistent", {"version"}).exit_code, 0);
}

TEST(EveryReadingCommand, SaysThatNoAgentIsThere) {
  for (const char* command : {"status", "list", "clients", "top"}) {
    const Ran ran = run("/nonexistent", {command});
    EXPECT_EQ(ran.exit_code, 69) << command;
    EXPECT_THAT(ran.err, HasSubstr("no agent at /nonexistent/admin.sock")) << command;
    EXPECT_EQ(ran.out, "");
  }
  EXPECT_EQ(run("/nonexistent", {"show", "x"}).exit_code, 69);
}

TEST(EveryReadingCommand, HandsOnWhatTheAgentRefuses) {
  Answers answers;
  answers.error = "only root\x1b may ask";
  FakeAgent agent{answers};

  const Ran ran = run(agent.dir(), {"list"});

  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_EQ(ran.err, "weir: only root\\x1b may ask\n");
}

TEST(TopOnce, PrintsOneScreen) {
  FakeAgent agent;

  const Ran ran = run(agent.dir(), {"top", "--once", "--samples", "2", "-d", "0.001"});

  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("2 limits"));
  EXPECT_THAT(ran.out, HasSubstr("/api/order"));
  EXPECT_THAT(ran.out, HasSubstr("450/600"));
}

}  // namespace
}  // namespace weir::cli
