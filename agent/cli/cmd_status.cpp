// weir status: the agent, its rules, its clock and its domains.
#include <map>
#include <ostream>

#include "agent/cli/commands.h"
#include "agent/cli/cpu_figures.h"
#include "agent/cli/json.h"
#include "agent/cli/limits.h"
#include "agent/cli/table.h"

namespace weir::cli {

namespace {

std::string percent(std::uint64_t part, std::uint64_t whole) {
  if (whole == 0) return "0 %";
  const double value = 100.0 * static_cast<double>(part) / static_cast<double>(whole);
  return (part != 0 && value < 0.01 ? std::string{"< 0.01"} : format_per_s(value)) + " %";
}

Cell cpu_words(const Context& context, const v1::CpuStatus& cpu, const CpuFigures& figures) {
  if (!figures.smoothed_permille)
    return {"not measured: " + context.escaped(figures.blind_reason), Style::warn};
  std::string text = format_permille(*figures.smoothed_permille);
  if (!figures.blind_reason.empty())
    return {"not measured now: " + context.escaped(figures.blind_reason) + "; before that " + text,
            Style::warn};
  if (figures.capacity_millicpus)
    text += " of " + format_per_s(*figures.capacity_millicpus / 1000.0) + " CPUs";
  return {text + " (" + context.escaped(cpu.source()) + "), " +
          format_permille(figures.usage_permille.value_or(0)) + " when last measured, " +
          format_ago(figures.age_ms.value_or(0))};
}

void add_cpu(const Context& context, const v1::CpuStatus& cpu, Facts& facts) {
  const CpuFigures figures{cpu};
  facts.add("CPU", cpu_words(context, cpu, figures));
  if (figures.host_usage_permille)
    facts.add("CPU of the host", format_permille(*figures.host_usage_permille));
  if (figures.psi_some_avg10_centipercent)
    facts.add("CPU pressure", format_permille(*figures.psi_some_avg10_centipercent / 10) +
                                  " of the last 10 s with tasks that waited for a CPU");
  if (figures.throttled_permille)
    facts.add("CPU throttled", {format_permille(*figures.throttled_permille) + " of the time",
                                *figures.throttled_permille != 0 ? Style::warn : Style::plain});
}

// What the limits do without the agent, and whether it has come to that in a domain.
void add_fallback(const Context& context, const v1::StatusResponse& status, Facts& facts) {
  std::string domains;
  for (const auto& domain : status.domains())
    if (domain.office_lost())
      domains += (domains.empty() ? "" : ", ") + context.escaped(domain.name());
  std::map<std::string, std::uint64_t> counts;  // few: the agent has three modes
  if (const auto limits = fetch_limits(context, "", ""))
    for (const auto& limit : *limits)
      ++counts[limit.fallback()];
  std::string modes;
  for (const auto& [mode, count] : counts)
    modes += (modes.empty() ? "" : ", ") + std::to_string(count) + " " + context.escaped(mode);
  const std::string without = modes.empty() ? "" : "; without the agent: " + modes;
  if (domains.empty())
    facts.add("Fallback", "not in force" + without);
  else
    facts.add("Fallback",
              {"in force in " + domains +
                   ": its clients mint by themselves until the agent takes over again" + without,
               Style::bad});
}

Cell server_words(const Context& context, const v1::UpstreamStatus& up) {
  const std::string where =
      (up.embedded() ? "embedded in this agent" : "at " + context.escaped(up.address()));
  const std::string heard =
      up.heard_ever() ? "heard " + format_ago(up.heard_ms_ago()) : "never heard";
  if (up.answering())
    return {where + ", weir " + context.escaped(up.server_version()) + ", answers; " + heard +
            (up.learning() ? "; learning, so that nobody gets more than it has yet" : "")};
  if (up.connected()) return {where + ", does not answer in time; " + heard, Style::bad};
  const std::string why =
      up.last_error().empty() ? std::string() : ": " + context.escaped(up.last_error());
  return {where + ", not connected (" + context.escaped(up.link_state()) + ")" + why + "; " + heard,
          Style::bad};
}

void add_upstream(const Context& context, const v1::UpstreamStatus& up, Facts& facts) {
  facts.add("Token server", server_words(context, up));
  facts.add("Cluster", "namespace " + context.escaped(up.namespace_name()) + ", " +
                           plural(up.limits(), "limit", "limits") + " in domain " +
                           context.escaped(up.domain()) + "; this host is " +
                           context.escaped(up.host()) + ", one of " + std::to_string(up.hosts()));
  facts.add(
      "Requests",
      {format_count(up.ok_total()) + " answered, " + format_count(up.busy_total()) + " busy, " +
           format_count(up.timeout_total()) + " late, " + format_count(up.refused_total()) +
           " refused (" + format_per_s(up.success_ratio() * 100) + " % good); round trip " +
           format_duration(up.round_trip_last_us() * 1000) + " (99 %: up to " +
           format_duration(up.round_trip_p99_us() * 1000) + ")",
       up.success_ratio() < 0.99 ? Style::warn : Style::plain});
  const std::string before = format_ms(up.fallback_total_ms()) + " in all, " +
                             plural(up.fallback_starts_total(), "time", "times");
  if (up.fallback())
    facts.add("Without server", {"limits of the cluster go by their tails and fallbacks, for " +
                                     format_ms(up.fallback_ms()) + " now; " + before,
                                 Style::bad});
  else
    facts.add("Without server",
              up.fallback_starts_total() == 0 ? std::string("never so far") : "not now; " + before);
  for (const std::string& name : up.conflicts())
    facts.add("Conflict", {context.escaped(name) +
                               " is in the rules file and comes from the server, too; the file's "
                               "is in force",
                           Style::warn});
}

void add_rules(const Context& context, const v1::StatusResponse& status, Facts& facts) {
  facts.add("Rules", context.escaped(status.rules_file()) + ", generation " +
                         std::to_string(status.rules_generation()) + ", loaded " +
                         format_ago(status.rules_loaded_ms_ago()));
  if (!status.rules_error().empty())
    facts.add("Last reload", {"refused: " + context.escaped(status.rules_error()), Style::bad});
}

void print_domains(const Context& context, const v1::StatusResponse& status) {
  Table table{{{"DOMAIN"},
               {"LIMITS", Align::right},
               {"CLIENTS", Align::right},
               {"WAITING", Align::right},
               {"ATTACHED", Align::right},
               {"REFUSED", Align::right},
               {"REAPED", Align::right},
               {"MEMORY", Align::right},
               {"SOCKET"}}};
  for (const auto& domain : status.domains()) {
    const Style refused = domain.refused_total() != 0 ? Style::warn : Style::plain;
    table.add({context.escaped(domain.name()),
               std::to_string(domain.limits()),
               std::to_string(domain.clients()),
               std::to_string(domain.waiting()),
               format_count(domain.attached_total()),
               {format_count(domain.refused_total()), refused},
               format_count(domain.reaped_total()),
               format_bytes(domain.rules_bytes() + domain.counters_bytes()),
               context.escaped(domain.socket())});
  }
  table.print(context);
}

}  // namespace

int cmd_status(const Context& context) {
  v1::AdminRequest request;
  request.mutable_status();
  const auto answer = context.ask(request);
  if (!answer) return context.fail(answer.error());
  if (!answer->has_status()) return context.fail(unexpected_answer(context.paths.admin_socket));
  const v1::StatusResponse& status = answer->status();
  if (context.json()) {
    print_json(context, to_json(status));
    return kExitOk;
  }
  Facts facts;
  facts.add("Agent", "weir-agent " + context.escaped(status.version()) + ", pid " +
                         std::to_string(status.pid()) + ", up " + format_ms(status.uptime_ms()));
  facts.add("Runtime dir", context.escaped(status.runtime_dir()));
  add_rules(context, status, facts);
  const bool late = status.ticks_late_total() > status.ticks_total() / 100;
  facts.add("Tick", {"every " + format_duration(status.tick_us() * 1000) + ", takes " +
                         format_duration(status.tick_p50_ns()) +
                         " (99 %: " + format_duration(status.tick_p99_ns()) + "); " +
                         format_count(status.ticks_late_total()) + " of " +
                         format_count(status.ticks_total()) + " late (" +
                         percent(status.ticks_late_total(), status.ticks_total()) + ")",
                     late ? Style::warn : Style::plain});
  facts.add("Counters",
            status.counters_adopted() ? "kept from an earlier run" : "made by this run");
  if (status.has_upstream()) add_upstream(context, status.upstream(), facts);
  add_fallback(context, status, facts);
  add_cpu(context, status.cpu(), facts);
  facts.add("HTTP", status.http_address().empty() ? "off" : context.escaped(status.http_address()));
  facts.print(context);
  if (status.domains_size() != 0) {
    context.out << '\n';
    print_domains(context, status);
  }
  return kExitOk;
}

}  // namespace weir::cli
