// weir list: every limit in a line.
#include <fnmatch.h>

#include <ostream>

#include "agent/cli/commands.h"
#include "agent/cli/json.h"
#include "agent/cli/limits.h"
#include "agent/cli/table.h"

namespace weir::cli {

namespace {

Limits matching(Limits limits, const std::string& pattern) {
  if (pattern.empty()) return limits;
  std::erase_if(limits, [&](const auto& limit) {
    return ::fnmatch(pattern.c_str(), limit.name().c_str(), 0) != 0;
  });
  return limits;
}

void print_table(const Context& context, const Limits& limits) {
  const bool with_domain = in_more_than_one_domain(limits);
  std::vector<Column> titles;
  if (with_domain) titles.push_back({"DOMAIN"});
  titles.insert(titles.end(), {{"NAME"},
                               {"ALGORITHM"},
                               {"RATE", Align::right},
                               {"BURST", Align::right},
                               {"TOKENS", Align::right},
                               {"ADMITTED/S", Align::right},
                               {"REFUSED/S", Align::right},
                               {"WAITING", Align::right}});
  Table table{std::move(titles)};
  for (const auto& limit : limits) {
    const bool refuses = limit.refused_per_s() >= 0.005;
    std::vector<Cell> row;
    if (with_domain) row.emplace_back(context.escaped(limit.domain()));
    row.insert(row.end(),
               {context.escaped(limit.name()), context.escaped(limit.algorithm()),
                context.escaped(rate_of(limit)), format_count(limit.burst()),
                Cell{format_count(limit.level()), limit.level() == 0 ? Style::warn : Style::plain},
                format_per_s(limit.spent_per_s()),
                Cell{format_per_s(limit.refused_per_s()), refuses ? Style::bad : Style::plain},
                format_count(limit.waiting())});
    table.add(std::move(row));
  }
  table.print(context);
}

void print_none(const Context& context, const ListOptions& options) {
  context.err << "weir: no limit";
  if (!options.pattern.empty())
    context.err << " matches '" << context.escaped(options.pattern) << "'";
  if (!options.domain.empty())
    context.err << " in a domain '" << context.escaped(options.domain) << "'";
  if (options.pattern.empty() && options.domain.empty())
    context.err << "s yet; write some into the agent's rules file, which it then reads by itself";
  context.err << '\n';
}

}  // namespace

int cmd_list(const Context& context, const ListOptions& options) {
  auto fetched = fetch_limits(context, options.domain, "");
  if (!fetched) return context.fail(fetched.error());
  Limits limits = matching(std::move(*fetched), options.pattern);
  sort_limits(limits, options.sort);
  if (context.json()) {
    Json array = Json::array();
    for (const auto& limit : limits)
      array.push_back(to_json(limit));
    print_json(context, {{"limits", std::move(array)}});
  } else if (options.names) {
    for (const auto& limit : limits)
      context.out << context.escaped(limit.name()) << '\n';
  } else if (limits.empty()) {
    print_none(context, options);
  } else {
    print_table(context, limits);
  }
  return kExitOk;
}

}  // namespace weir::cli
