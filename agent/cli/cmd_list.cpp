// weir list: every limit in a line.
#include <fnmatch.h>

#include <ostream>

#include "agent/cli/commands.h"
#include "agent/cli/json.h"
#include "agent/cli/limits.h"
#include "agent/cli/resources.h"
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

void keep_matching(v1::ResourcesResponse& resources, const std::string& pattern) {
  auto& list = *resources.mutable_resources();
  for (int i = list.size(); !pattern.empty() && i-- > 0;)
    if (::fnmatch(pattern.c_str(), list[i].name().c_str(), 0) != 0) list.DeleteSubrange(i, 1);
}

void print_none(const Context& context, const ListOptions& options) {
  context.err << (options.resources ? "weir: no resource" : "weir: no limit");
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
  Limits limits;
  if (!options.resources) {
    auto fetched = fetch_limits(context, options.domain, "");
    if (!fetched) return context.fail(fetched.error());
    limits = matching(std::move(*fetched), options.pattern);
    sort_limits(limits, options.sort);
  }
  v1::ResourcesResponse resources;
  if (options.resources || !options.names) {
    auto fetched = fetch_resources(context, options.domain, "");
    if (!fetched) return context.fail(fetched.error());
    resources = std::move(*fetched);
    keep_matching(resources, options.pattern);
  }
  if (context.json()) {
    Json array = Json::array();
    for (const auto& limit : limits)
      array.push_back(to_json(limit));
    print_json(context, {{"limits", std::move(array)},
                         {"resources", resources_json(resources)},
                         {"degrades", degrades_json(resources)}});
  } else if (options.names) {
    for (const auto& limit : limits)
      context.out << context.escaped(limit.name()) << '\n';
    for (const auto& resource : resources.resources())
      context.out << context.escaped(resource.name()) << '\n';
  } else if (limits.empty() && resources.resources().empty()) {
    print_none(context, options);
  } else {
    if (!limits.empty()) print_table(context, limits);
    if (!limits.empty() && !resources.resources().empty()) context.out << '\n';
    if (!resources.resources().empty()) print_resources(context, resources);
  }
  return kExitOk;
}

}  // namespace weir::cli
