#include "agent/http/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "weir/v1/admin.pb.h"

namespace weir::agent {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\n', at);
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

// The page without the comments, of the metrics whose names begin so.
std::string samples(const std::string& page, const std::string& prefix) {
  std::string found;
  for (const std::string& line : lines_of(page)) {
    if (line.starts_with(prefix)) found += line + "\n";
  }
  return found;
}

v1::StatusResponse a_status() {
  v1::StatusResponse status;
  status.set_version("0.1.0");
  status.set_uptime_ms(61'500);
  status.set_rules_loaded_ms_ago(2'000);
  status.set_rules_generation(3);
  status.set_tick_us(1'000);
  status.set_ticks_total(60'000);
  status.set_ticks_late_total(12);
  status.set_tick_p50_ns(4'200);
  status.set_tick_p99_ns(71'000);
  v1::DomainStatus& domain = *status.add_domains();
  domain.set_name("default");
  domain.set_limits(2);
  domain.set_clients(5);
  domain.set_attached_total(9);
  domain.set_refused_total(1);
  domain.set_reaped_total(4);
  domain.set_rules_bytes(65'536);
  domain.set_counters_bytes(262'144);
  domain.set_waiting(7);
  v1::CpuStatus& cpu = *status.mutable_cpu();
  cpu.set_source("cgroup_v2");
  cpu.set_usage_permille(250);
  cpu.set_smoothed_permille(240);
  cpu.set_capacity_millicpus(1'500);
  cpu.set_throttled_permille(20);
  cpu.set_psi_some_avg10_centipercent(125);
  cpu.set_host_usage_permille(400);
  cpu.set_age_ms(100);
  return status;
}

v1::LimitStatus a_limit(const std::string& name) {
  v1::LimitStatus limit;
  limit.set_domain("default");
  limit.set_name(name);
  limit.set_algorithm("token_bucket");
  limit.set_fallback("local");
  limit.set_amount(300);
  limit.set_period_ns(1'000'000'000);
  limit.set_burst(50);
  limit.set_level(41);
  limit.set_minted_total(1'000);
  limit.set_spent_total(959);
  limit.set_refused_total(17);
  limit.set_waiting(2);
  limit.set_owed(6);
  limit.set_forged_total(1);
  limit.set_lost_total(8);
  return limit;
}

v1::LimitsResponse limits_of(const std::vector<std::string>& names) {
  v1::LimitsResponse limits;
  for (const std::string& name : names)
    *limits.add_limits() = a_limit(name);
  return limits;
}

// What promtool says of the page; absent when there is no promtool here.
struct Verdict {
  int exit_code = 0;
  std::string text;
};
std::optional<Verdict> promtool(const std::string& page) {
  if (std::system("promtool --version >/dev/null 2>&1") != 0) return std::nullopt;
  std::string path = ::testing::TempDir() + "weir_metrics_XXXXXX";
  const int fd = ::mkstemp(path.data());
  std::FILE* file = ::fdopen(fd, "w");
  std::fwrite(page.data(), 1, page.size(), file);
  std::fclose(file);
  std::FILE* pipe = ::popen(("promtool check metrics < " + path + " 2>&1").c_str(), "r");
  Verdict verdict;
  for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) {
    verdict.text += static_cast<char>(c);
  }
  verdict.exit_code = ::pclose(pipe);
  std::remove(path.c_str());
  return verdict;
}

TEST(Metrics, ALimitShowsAllItsFigures) {
  const std::string page = render_metrics({}, limits_of({"api"}));

  EXPECT_EQ(samples(page, "weir_limit_"),
            "weir_limit_info{domain=\"default\",limit=\"api\",algorithm=\"token_bucket\","
            "fallback=\"local\"} 1\n"
            "weir_limit_rate_tokens_per_second{domain=\"default\",limit=\"api\"} 300\n"
            "weir_limit_burst_tokens{domain=\"default\",limit=\"api\"} 50\n"
            "weir_limit_level_tokens{domain=\"default\",limit=\"api\"} 41\n"
            "weir_limit_owed_tokens{domain=\"default\",limit=\"api\"} 6\n"
            "weir_limit_waiting_calls{domain=\"default\",limit=\"api\"} 2\n"
            "weir_limit_minted_tokens_total{domain=\"default\",limit=\"api\"} 1000\n"
            "weir_limit_spent_tokens_total{domain=\"default\",limit=\"api\"} 959\n"
            "weir_limit_refused_calls_total{domain=\"default\",limit=\"api\"} 17\n"
            "weir_limit_forged_words_total{domain=\"default\",limit=\"api\"} 1\n"
            "weir_limit_lost_tokens_total{domain=\"default\",limit=\"api\"} 8\n"
            "weir_limit_retried_calls_total{domain=\"default\",limit=\"api\"} 0\n");
}

TEST(Metrics, TheAgentShowsItsTicksAndRules) {
  const std::string page = render_metrics(a_status(), {});

  EXPECT_EQ(samples(page, "weir_agent_"),
            "weir_agent_info{version=\"0.1.0\"} 1\n"
            "weir_agent_uptime_seconds 61.5\n"
            "weir_agent_counters_adopted 0\n"
            "weir_agent_ticks_total 60000\n"
            "weir_agent_ticks_late_total 12\n"
            "weir_agent_tick_period_seconds 0.001\n"
            "weir_agent_tick_duration_seconds_count 60000\n"
            "weir_agent_tick_duration_seconds_sum Nan\n"
            "weir_agent_tick_duration_seconds{quantile=\"0.5\"} 4.2e-06\n"
            "weir_agent_tick_duration_seconds{quantile=\"0.99\"} 7.1e-05\n"
            "weir_agent_rules_generation 3\n"
            "weir_agent_rules_age_seconds 2\n"
            "weir_agent_rules_last_reload_successful 1\n");
}

TEST(Metrics, ADomainAndTheCpuShowTheirFigures) {
  const std::string page = render_metrics(a_status(), {});

  EXPECT_EQ(samples(page, "weir_domain_"),
            "weir_domain_limits{domain=\"default\"} 2\n"
            "weir_domain_clients{domain=\"default\"} 5\n"
            "weir_domain_waiting_calls{domain=\"default\"} 7\n"
            "weir_domain_attaches_total{domain=\"default\"} 9\n"
            "weir_domain_attaches_refused_total{domain=\"default\"} 1\n"
            "weir_domain_clients_reaped_total{domain=\"default\"} 4\n"
            "weir_domain_rules_segment_bytes{domain=\"default\"} 65536\n"
            "weir_domain_counters_segment_bytes{domain=\"default\"} 262144\n"
            "weir_domain_office_lost{domain=\"default\"} 0\n");
  EXPECT_EQ(samples(page, "weir_cpu_"),
            "weir_cpu_info{source=\"cgroup_v2\"} 1\n"
            "weir_cpu_blind 0\n"
            "weir_cpu_usage_ratio 0.25\n"
            "weir_cpu_smoothed_usage_ratio 0.24\n"
            "weir_cpu_host_usage_ratio 0.4\n"
            "weir_cpu_capacity_cores 1.5\n"
            "weir_cpu_throttled_ratio 0.02\n"
            "weir_cpu_pressure_ratio 0.0125\n"
            "weir_cpu_sample_age_seconds 0.1\n");
}

// An operator's alert watches this one figure.
TEST(Metrics, ARefusedReloadIsSeen) {
  v1::StatusResponse status = a_status();
  status.set_rules_error("rules.yaml:3:1: no such key");

  EXPECT_THAT(render_metrics(status, {}), HasSubstr("weir_agent_rules_last_reload_successful 0\n"));
}

TEST(Metrics, ABlindCpuShowsNoFigureInsteadOfZero) {
  v1::StatusResponse status = a_status();
  status.mutable_cpu()->set_blind_reason("no /proc/stat");

  const std::string page = render_metrics(status, {});

  EXPECT_THAT(page, HasSubstr("weir_cpu_blind 1\n"));
  EXPECT_THAT(page, Not(HasSubstr("weir_cpu_usage_ratio")));
}

TEST(Metrics, EveryFamilyHasHelpAndTypeOnce) {
  std::set<std::string> seen;
  for (const std::string& line : lines_of(render_metrics(a_status(), limits_of({"a", "b"})))) {
    if (!line.starts_with("# TYPE ")) continue;
    EXPECT_TRUE(seen.insert(line).second) << line;
  }
  EXPECT_GT(seen.size(), 35U);
}

TEST(Metrics, PromtoolFindsNoFault) {
  const auto verdict = promtool(render_metrics(a_status(), limits_of({"api", "mail"})));
  if (!verdict) GTEST_SKIP() << "no promtool here";

  EXPECT_EQ(verdict->exit_code, 0);
  EXPECT_EQ(verdict->text, "");
}

// Names come from files and from other programs: none may break the page or forge a sample.
TEST(Metrics, HostileNamesStayInsideTheirLabel) {
  const std::vector<std::string> names{"x\"} 1\nweir_forged_total 1\n",
                                       "back\\slash",
                                       "\xff\xfe not utf-8",
                                       "\x1b[2J",
                                       std::string("nul\0inside", 10),
                                       "",
                                       "tür {a,b}"};
  v1::StatusResponse status = a_status();
  status.set_version("1\"\n\\");

  const std::string page = render_metrics(status, limits_of(names));

  EXPECT_EQ(samples(page, "weir_forged"), "");
  EXPECT_THAT(page, Not(HasSubstr("\x1b")));
  EXPECT_THAT(page, HasSubstr(R"(limit="back\\slash"})"));
  EXPECT_THAT(page, HasSubstr("limit=\"tür {a,b}\"}"));
  const auto verdict = promtool(page);
  if (!verdict) GTEST_SKIP() << "no promtool here";
  EXPECT_EQ(verdict->exit_code, 0) << verdict->text;
  EXPECT_EQ(verdict->text, "");
}

TEST(Metrics, FiguresAreExactUpToTheWidthOfADouble) {
  v1::LimitsResponse limits = limits_of({"api"});
  limits.mutable_limits(0)->set_spent_total(9'007'199'254'740'991);
  limits.mutable_limits(0)->set_period_ns(0);

  const std::string page = render_metrics({}, limits);

  EXPECT_THAT(page, HasSubstr("limit=\"api\"} 9007199254740991\n"));
  EXPECT_THAT(page,
              HasSubstr("weir_limit_rate_tokens_per_second{domain=\"default\",limit=\"api\"} 0"));
}

std::int64_t thread_cpu_us() {
  timespec used{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return std::int64_t{used.tv_sec} * 1'000'000 + used.tv_nsec / 1'000;
}

// The page is made on the thread that mints. The bound is loose: sanitizers, shared machines.
TEST(Metrics, AThousandLimitsTakeMilliseconds) {
  std::vector<std::string> names;
  for (int i = 0; i < 1'000; ++i)
    names.push_back("limit_" + std::to_string(i));
  const v1::StatusResponse status = a_status();
  const v1::LimitsResponse limits = limits_of(names);

  std::int64_t best_us = INT64_MAX;
  for (int run = 0; run < 5; ++run) {
    const std::int64_t begin_us = thread_cpu_us();
    const std::string page = render_metrics(status, limits);
    best_us = std::min(best_us, thread_cpu_us() - begin_us);
    EXPECT_GT(page.size(), 500'000U);
  }

  RecordProperty("render_us", static_cast<int>(best_us));
  EXPECT_LT(best_us, 100'000);
}

}  // namespace
}  // namespace weir::agent
