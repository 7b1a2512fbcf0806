// weir breaker, weir degrade, weir load: the availability toolkit by hand.
#include <ostream>

#include "agent/cli/commands.h"
#include "agent/cli/resources.h"

namespace weir::cli {

namespace {

constexpr std::uint64_t kNsPerMs = 1'000'000;

// A word that a slip may have put there: whether somebody has it.
template <class All>
bool has_name(const All& all, const std::string& name) {
  for (const auto& each : all)
    if (each.name() == name) return true;
  return false;
}

int order(const Context& context, const v1::AdminRequest& request) {
  const auto answer = context.ask(request);
  if (!answer) return context.fail(answer.error());
  if (!answer->has_force()) return context.fail(unexpected_answer(context.paths.admin_socket));
  if (context.json())
    print_json(context, {{"text", answer->force().text()}});
  else
    context.out << context.escaped(answer->force().text()) << '\n';
  return kExitOk;
}

void print_breakers(const Context& context, const v1::ResourcesResponse& resources) {
  Table table{{{"RESOURCE"},
               {"STATE"},
               {"SINCE", Align::right},
               {"OPENED", Align::right},
               {"BROKEN", Align::right},
               {"WHY"}}};
  for (const auto& each : resources.resources()) {
    const bool states = each.breaker() == "states";
    table.add({shown_name(context, each.domain(), each.name()),
               Cell{breaker_text(context, each), breaker_style(each)},
               states ? format_ms(each.breaker_since_ms()) : std::string("-"),
               states ? format_count(each.breaker_opened_total()) : std::string("-"),
               format_count(states ? each.broken_total() : each.throttled_total()),
               states ? context.escaped(each.breaker_reason()) : std::string("adaptive")});
  }
  table.print(context);
}

std::string drill_text(const v1::DegradeStatus& d) {
  if (d.drill_level() == 0 || d.drill_permille() == 0) return "-";
  return "level " + std::to_string(d.drill_level()) + " for " + format_permille(d.drill_permille());
}

void print_degrades(const Context& context, const v1::ResourcesResponse& resources) {
  Table table{
      {{"NAME"}, {"SIGNAL"}, {"NOW", Align::right}, {"LEVEL", Align::right}, {"BY"}, {"DRILL"}}};
  for (const auto& d : resources.degrades()) {
    std::string signal = context.escaped(d.signal());
    if (!d.resource().empty()) signal += " of " + context.escaped(d.resource());
    std::string by = d.forced() ? "an operator" : "its signal";
    if (d.forced_ms() != 0) by += ", for " + format_ms(d.forced_ms());
    table.add({shown_name(context, d.domain(), d.name()), signal,
               d.value_text().empty() ? std::string("-") : context.escaped(d.value_text()),
               Cell{std::to_string(d.level()) + "/" + std::to_string(d.levels_size()),
                    d.level() == 0 ? Style::plain : Style::bad},
               by, drill_text(d)});
  }
  table.print(context);
}

void print_levels(const Context& context, const v1::DegradeStatus& d) {
  Table table{
      {{"LEVEL", Align::right}, {"ENTER", Align::right}, {"LEAVE", Align::right}, {"GIVES UP"}}};
  for (int i = 0; i < d.levels_size(); ++i) {
    std::string features;
    for (const std::string& feature : d.levels(i).features())
      features += (features.empty() ? "" : ", ") + context.escaped(feature);
    const bool in_force = static_cast<std::uint32_t>(i) < d.level();
    table.add({std::to_string(i + 1), context.escaped(d.levels(i).enter_text()),
               context.escaped(d.levels(i).leave_text()),
               Cell{features, in_force ? Style::bad : Style::plain}});
  }
  table.print(context);
}

std::string known(bool is_known, double share) { return is_known ? share_text(share) : "-"; }

std::vector<Cell> load_row(std::string name, const v1::LoadStatus& load) {
  const std::string limit =
      load.has_limit() ? "/" + format_count(static_cast<std::uint64_t>(load.limit())) : "";
  // Above 1 it sheds; a share would end there.
  const std::string worst = !load.has_utilization() ? "-"
                            : load.utilization() > 1.0
                                ? format_per_s(load.utilization() * 100.0) + " %"
                                : share_text(load.utilization());
  return {std::move(name),
          Cell{worst, load.utilization() >= 1.0 ? Style::bad : Style::plain},
          known(load.has_cpu_utilization(), load.cpu_utilization()),
          format_count(static_cast<std::uint64_t>(load.in_flight())) + limit,
          format_per_s(load.requests_per_s()),
          format_per_s(load.errors_per_s()),
          share_text(load.shed_share())};
}

}  // namespace

int cmd_breaker(const Context& context, const BreakerOptions& options) {
  if (!options.state.empty()) {
    v1::AdminRequest request;
    v1::ForceBreakerRequest& force = *request.mutable_force_breaker();
    force.set_domain(options.domain);
    force.set_name(options.name);
    force.set_for_ms(options.for_ns / kNsPerMs);
    force.set_state(options.state == "open"    ? v1::ForceBreakerRequest::STATE_OPEN
                    : options.state == "close" ? v1::ForceBreakerRequest::STATE_CLOSED
                                               : v1::ForceBreakerRequest::STATE_AUTOMATIC);
    return order(context, request);
  }
  auto found = fetch_resources(context, options.domain, options.name);
  if (!found) return context.fail(found.error());
  auto& list = *found->mutable_resources();
  if (!options.name.empty() && list.empty())
    return context.fail("no resource '" + options.name + "'; `weir list` names all");
  for (int i = list.size(); i-- > 0;)
    if (list[i].breaker().empty() || list[i].breaker() == "off") list.DeleteSubrange(i, 1);
  if (context.json())
    print_json(context, {{"resources", resources_json(*found)}});
  else if (list.empty())
    context.err << "weir: no breaker; give a resource one in the rules file\n";
  else
    print_breakers(context, *found);
  return kExitOk;
}

int cmd_degrade(const Context& context, const DegradeOptions& options) {
  if (!options.level.empty()) {
    v1::AdminRequest request;
    v1::ForceLevelRequest& force = *request.mutable_force_level();
    force.set_domain(options.domain);
    force.set_name(options.name);
    force.set_automatic(options.level == "auto");
    if (options.level != "auto")
      force.set_level(static_cast<std::uint32_t>(std::stoul(options.level)));
    force.set_drill_permille(options.drill_permille);
    force.set_for_ms(options.for_ns / kNsPerMs);
    return order(context, request);
  }
  auto found = fetch_resources(context, options.domain, "");
  if (!found) return context.fail(found.error());
  auto& list = *found->mutable_degrades();
  if (!options.name.empty() && !has_name(list, options.name))
    return context.fail("no entry '" + options.name + "' of 'degrade'; `weir degrade` names all");
  for (int i = list.size(); !options.name.empty() && i-- > 0;)
    if (list[i].name() != options.name) list.DeleteSubrange(i, 1);
  if (context.json()) {
    print_json(context, {{"degrades", degrades_json(*found)}});
  } else if (list.empty()) {
    context.err << "weir: nothing is given up; 'degrade' of the rules file says what could be\n";
  } else {
    print_degrades(context, *found);
    for (const auto& d : list)
      if (!options.name.empty()) {
        context.out << '\n';
        print_levels(context, d);
      }
  }
  return kExitOk;
}

int cmd_load(const Context& context, const LoadOptions& options) {
  const auto found = fetch_resources(context, options.domain, options.name);
  if (!found) return context.fail(found.error());
  if (!options.name.empty() && found->resources().empty())
    return context.fail("no resource '" + options.name + "'; `weir list` names all");
  const v1::LoadStatus& asked = options.name.empty() ? found->host() : found->resources(0).load();
  if (options.orca) {
    context.out << "endpoint-load-metrics: "
                << context.escaped(context.json() ? asked.orca_json() : asked.orca_text()) << '\n';
    return kExitOk;
  }
  if (context.json()) {
    Json resources = Json::array();
    for (const auto& each : found->resources()) {
      Json one = {{"domain", each.domain()}, {"name", each.name()}};
      one.update(to_json(each.load()));
      resources.push_back(std::move(one));
    }
    Json json = {{"resources", std::move(resources)}};
    if (options.name.empty()) json["host"] = to_json(found->host());
    print_json(context, json);
    return kExitOk;
  }
  Table table{{{"NAME"},
               {"UTILIZATION", Align::right},
               {"CPU", Align::right},
               {"IN FLIGHT", Align::right},
               {"REQUESTS/S", Align::right},
               {"ERRORS/S", Align::right},
               {"SHED", Align::right}}};
  if (options.name.empty()) table.add(load_row("this host", found->host()));
  for (const auto& each : found->resources())
    table.add(load_row(shown_name(context, each.domain(), each.name()), each.load()));
  table.print(context);
  return kExitOk;
}

}  // namespace weir::cli
