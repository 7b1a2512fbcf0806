// weir rules: check a file without an agent; show or make a change with one.
#include <ostream>

#include "agent/cli/commands.h"
#include "agent/cli/json.h"
#include "rules/file.h"
#include "rules/parse.h"

namespace weir::cli {

namespace {

constexpr std::size_t kRulesBytesMax = 8U << 20;  // what fits in a request with room to spare

template <class Texts>
void print_lines(const Context& context, const Texts& texts, Style style, std::string_view prefix) {
  for (const std::string& text : texts)
    context.out << context.styled(style, prefix) << context.escaped(text) << '\n';
}

std::vector<std::string> to_lines(const std::vector<weir::Problem>& problems) {
  std::vector<std::string> lines;
  for (const weir::Problem& problem : problems)
    lines.push_back(weir::to_string(problem));
  return lines;
}

Style style_of_change(const std::string& change) {
  if (change.starts_with('+')) return Style::good;
  if (change.starts_with('-')) return Style::bad;
  return Style::warn;
}

void print_changes(const Context& context, const v1::ApplyResponse& answer) {
  for (const std::string& change : answer.changes())
    context.out << context.styled(style_of_change(change), context.escaped(change)) << '\n';
}

net::Result<v1::ApplyResponse> send(const Context& context, const RulesOptions& options,
                                    bool dry_run) {
  v1::AdminRequest request;
  auto& apply = *request.mutable_apply();
  apply.set_dry_run(dry_run);
  if (!options.file.empty()) {
    weir::FileText file = weir::read_file(options.file, kRulesBytesMax);
    if (!file.error.empty())
      return net::Error{net::Failure::invalid, options.file + ": " + file.error};
    if (file.text.empty()) {
      return net::Error{net::Failure::invalid,
                        options.file + ": is empty; a file without limits says `limits: []`"};
    }
    if (weir::ParseResult parsed = weir::parse_rules(file.text, options.file); !parsed.ok()) {
      // The agent would say the same; a broken file, or one that is not UTF-8, stays here.
      v1::ApplyResponse answer;
      for (const std::string& line : to_lines(parsed.problems))
        answer.add_problems(line);
      return answer;
    }
    apply.set_text(std::move(file.text));
    apply.set_file_name(options.file);
    apply.set_write_file(options.save);
  }
  const auto answer = context.ask(request);
  if (!answer) return answer.error();
  if (!answer->has_apply()) return unexpected_answer(context.paths.admin_socket);
  return answer->apply();
}

}  // namespace

int cmd_rules_check(const Context& context, const RulesOptions& options) {
  const std::string file = options.file.empty() ? kDefaultRulesFile : options.file;
  const weir::ParseResult parsed = weir::load_rules_file(file);
  const auto problems = to_lines(parsed.problems);
  const auto warnings = parsed.ok() ? to_lines(parsed.rules->warnings) : std::vector<std::string>{};
  std::size_t limits = 0;
  if (parsed.ok())
    for (const auto& domain : parsed.rules->domains)
      limits += domain.limits.size();
  if (context.json()) {
    print_json(context, {{"file", file},
                         {"ok", parsed.ok()},
                         {"problems", problems},
                         {"problems_left_out", parsed.problems_left_out},
                         {"warnings", warnings},
                         {"limits", limits}});
    return parsed.ok() ? kExitOk : kExitFailure;
  }
  print_lines(context, problems, Style::bad, "error: ");
  if (parsed.problems_left_out != 0)
    context.out << "... and " << parsed.problems_left_out << " more\n";
  print_lines(context, warnings, Style::warn, "warning: ");
  if (!parsed.ok()) return kExitFailure;
  context.out << context.escaped(file) << ": ok, " << plural(limits, "limit", "limits");
  if (parsed.rules->domains.size() > 1)
    context.out << " in " << parsed.rules->domains.size() << " domains";
  context.out << '\n';
  return kExitOk;
}

int cmd_rules_apply(const Context& context, const RulesOptions& options) {
  if (options.save && options.file.empty())
    return context.fail("--save needs a FILE; without one the agent reads its own rules file",
                        kExitUsage);
  const auto answer = send(context, options, options.dry_run);
  if (!answer) return context.fail(answer.error());
  const bool refused = answer->problems_size() != 0 || (!answer->applied() && !options.dry_run);
  if (context.json()) {
    print_json(context, to_json(*answer));
    return refused ? kExitFailure : kExitOk;
  }
  print_lines(context, answer->problems(), Style::bad, "error: ");
  print_lines(context, answer->warnings(), Style::warn, "warning: ");
  if (refused) return context.fail("nothing was changed; the agent goes on with its old rules");
  print_changes(context, *answer);
  if (options.dry_run)
    context.out << "would apply: ";
  else
    context.out << "applied: ";
  context.out << plural(static_cast<std::uint64_t>(answer->changes_size()), "change", "changes")
              << '\n';
  if (!options.file.empty() && !options.save && !options.dry_run)
    context.err << "weir: the agent's own rules file was not changed; --save writes it\n";
  return kExitOk;
}

int cmd_rules_diff(const Context& context, const RulesOptions& options) {
  const auto answer = send(context, options, true);
  if (!answer) return context.fail(answer.error());
  const bool broken = answer->problems_size() != 0;
  const int same_or_not = options.exit_code && answer->changes_size() != 0 ? kExitFailure : kExitOk;
  if (context.json()) {
    print_json(context, to_json(*answer));
    return broken ? kExitFailure : same_or_not;
  }
  print_lines(context, answer->problems(), Style::bad, "error: ");
  print_lines(context, answer->warnings(), Style::warn, "warning: ");
  if (broken) return kExitFailure;
  print_changes(context, *answer);
  if (answer->changes_size() == 0) context.out << "no changes\n";
  return same_or_not;
}

}  // namespace weir::cli
