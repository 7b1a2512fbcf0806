// weir doctor: findings, worst decides the exit code.
#include <algorithm>
#include <ostream>

#include "agent/cli/commands.h"
#include "agent/cli/doctor.h"
#include "agent/cli/json.h"

namespace weir::cli {

namespace {

constexpr int kExitWarnings = kExitFailure;
constexpr int kExitErrors = kExitUsage;

Style style_of(Severity severity) {
  switch (severity) {
    case Severity::ok:
      return Style::good;
    case Severity::info:
      return Style::plain;
    case Severity::warning:
      return Style::warn;
    case Severity::error:
      return Style::bad;
  }
  return Style::plain;
}

int exit_code(Severity worst) {
  if (worst == Severity::error) return kExitErrors;
  return worst == Severity::warning ? kExitWarnings : kExitOk;
}

void print_finding(const Context& context, const Finding& finding) {
  constexpr std::size_t kSeverityColumns = 9;
  const std::string severity{to_text(finding.severity)};
  context.out << context.styled(style_of(finding.severity), severity)
              << std::string(kSeverityColumns - severity.size(), ' ') << finding.check << ": "
              << context.escaped(finding.text) << '\n';
  if (!finding.action.empty())
    context.out << std::string(kSeverityColumns, ' ') << "-> " << context.escaped(finding.action)
                << '\n';
}

}  // namespace

int cmd_doctor(const Context& context, const DoctorOptions& options) {
  const std::vector<Finding> findings = judge(collect_facts(context, options.rules_file));
  Severity worst = Severity::ok;
  for (const Finding& finding : findings)
    worst = std::max(worst, finding.severity);
  if (context.json()) {
    Json array = Json::array();
    for (const Finding& finding : findings) {
      array.push_back({{"severity", to_text(finding.severity)},
                       {"check", finding.check},
                       {"text", finding.text},
                       {"action", finding.action}});
    }
    print_json(context, {{"worst", to_text(worst)}, {"findings", std::move(array)}});
    return exit_code(worst);
  }
  std::size_t in_order = 0;
  std::size_t found = 0;
  for (const Finding& finding : findings) {
    if (finding.severity == Severity::ok) ++in_order;
    if (finding.severity >= Severity::warning) ++found;
    if (finding.severity != Severity::ok || options.all) print_finding(context, finding);
  }
  context.out << plural(in_order, "check", "checks") << " in order, "
              << plural(found, "finding", "findings") << '\n';
  return exit_code(worst);
}

}  // namespace weir::cli
