#include "agent/cli/app_toolkit.h"

#include <CLI/CLI.hpp>

#include "rules/duration.h"
#include "rules/text.h"

namespace weir::cli {

namespace {

constexpr std::uint32_t kLevelMax = 8;

void add_for(CLI::App& command, std::uint64_t& into) {
  command
      .add_option_function<std::string>(
          "--for",
          [&into](const std::string& text) {
            const auto parsed = weir::parse_duration_ns(text);
            if (!parsed.value) throw CLI::ValidationError("'" + text + "' " + parsed.error);
            if (*parsed.value < 1'000'000)
              throw CLI::ValidationError("'" + text + "' is less than 1ms");
            into = *parsed.value;
          },
          "Then let go again, as 30s, 10m; without it when told to, or when the agent ends")
      ->type_name("DURATION");
}

void check_level(const std::string& text) {
  const bool digit =
      text.size() == 1 && text[0] >= '0' && text[0] <= '0' + static_cast<char>(kLevelMax);
  if (text != "auto" && !digit)
    throw CLI::ValidationError("'" + text + "' is not a level; allowed: 0 to 8, auto");
}

}  // namespace

void add_toolkit(CLI::App& app, ToolkitOptions& options) {
  auto* breaker = app.add_subcommand("breaker", "Circuit breakers: look at them, force them");
  breaker->add_option("NAME", options.breaker.name, "The resource; without one, all")
      ->type_name("");
  breaker
      ->add_option_function<std::string>(
          "STATE",
          [&options](const std::string& text) {
            if (text != "open" && text != "close" && text != "auto")
              throw CLI::ValidationError("'" + text + "' is not one of open|close|auto");
            options.breaker.state = text;
          },
          "open: refuse all, close: let all pass, auto: by its rules again")
      ->type_name("");
  breaker->add_option("--domain", options.breaker.domain, "In this domain")->type_name("NAME");
  add_for(*breaker, options.breaker.for_ns);

  auto* degrade = app.add_subcommand("degrade", "What is given up: look at it, order it, drill it");
  degrade->add_option("NAME", options.degrade.name, "The entry of 'degrade'; without one, all")
      ->type_name("");
  degrade
      ->add_option_function<std::string>(
          "LEVEL",
          [&options](const std::string& text) {
            check_level(text);
            options.degrade.level = text;
          },
          "0 to 8 by order, auto: by its signal again")
      ->type_name("");
  degrade
      ->add_option_function<std::string>(
          "--drill",
          [&options](const std::string& text) {
            const auto parsed = weir::parse_permille(text);
            if (!parsed.value) throw CLI::ValidationError("'" + text + "' " + parsed.error);
            if (*parsed.value == 0) throw CLI::ValidationError("a drill of 0% is none; use auto");
            options.degrade.drill_permille = *parsed.value;
          },
          "Only this share of the requests, as 1%, to see that the level works")
      ->type_name("SHARE");
  degrade->add_option("--domain", options.degrade.domain, "In this domain")->type_name("NAME");
  add_for(*degrade, options.degrade.for_ns);

  auto* load = app.add_subcommand("load", "What balancers should know of this host's load");
  load->add_option("NAME", options.load.name, "Of this resource alone")->type_name("");
  load->add_flag("--orca", options.load.orca,
                 "As the header endpoint-load-metrics; with -o json in its JSON form");
  load->add_option("--domain", options.load.domain, "In this domain")->type_name("NAME");
}

int run_toolkit(const CLI::App& command, const Context& context, const ToolkitOptions& options) {
  const std::string& name = command.get_name();
  if (name == "load") return cmd_load(context, options.load);
  if (name == "breaker") {
    if (options.breaker.state.empty() && options.breaker.for_ns != 0)
      return context.fail("--for goes with a state: open, close or auto", kExitUsage);
    return cmd_breaker(context, options.breaker);
  }
  const DegradeOptions& degrade = options.degrade;
  if (degrade.level.empty() && (degrade.for_ns != 0 || degrade.drill_permille != 0))
    return context.fail("--for and --drill go with a level", kExitUsage);
  if (degrade.drill_permille != 0 && (degrade.level == "auto" || degrade.level == "0"))
    return context.fail("--drill goes with a level above 0", kExitUsage);
  return cmd_degrade(context, degrade);
}

}  // namespace weir::cli
