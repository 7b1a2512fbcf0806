#include "agent/cli/app.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <ostream>

#include "agent/cli/app_quota.h"
#include "agent/cli/app_toolkit.h"
#include "agent/cli/version.h"
#include "rules/duration.h"
#include "rules/text.h"

namespace weir::cli {

namespace {

constexpr const char* kFooter =
    "Exit codes: 0 ok, 1 failure or finding, 2 usage, 69 no agent answers, 75 refused by a limit.\n"
    "weir(1) has the details.";

struct Options {
  GlobalOptions global;
  ListOptions list;
  ShowOptions show;
  TopOptions top;
  TopOptions cluster_top;
  std::string cluster_limit;
  QuotaOptions quota;
  ToolkitOptions toolkit;
  TakeOptions take;
  std::string take_wait;
  RulesOptions rules;
  DoctorOptions doctor;
  BenchOptions bench;
  std::string shell;
};

template <class T>
using Words = std::vector<std::pair<std::string, T>>;

const Words<SortKey>& sort_words() {
  static const Words<SortKey> words{{"name", SortKey::name},
                                    {"admitted", SortKey::admitted},
                                    {"refused", SortKey::refused},
                                    {"level", SortKey::level},
                                    {"waiting", SortKey::waiting}};
  return words;
}

Words<std::int32_t> class_words() {
  Words<std::int32_t> words;
  for (std::size_t i = 0; i < weir::kClassNames.size(); ++i)
    words.emplace_back(std::string{weir::kClassNames[i]}, static_cast<std::int32_t>(i));
  return words;
}

// An option whose value is one of a few words. CLI11's own transformer lists the numbers behind
// them in its help, and takes the numbers, too.
template <class T>
CLI::Option* add_choice(CLI::App& app, const std::string& flags, T& value, const Words<T>& words,
                        const std::string& help) {
  std::string list;
  for (const auto& [word, unused] : words)
    list += (list.empty() ? "" : "|") + word;
  auto* option = app.add_option_function<std::string>(
      flags,
      [&value, words, list](const std::string& text) {
        const auto found = std::find_if(words.begin(), words.end(),
                                        [&](const auto& word) { return word.first == text; });
        if (found == words.end())
          throw CLI::ValidationError("'" + text + "' is not one of " + list);
        value = found->second;
      },
      help);
  return option->type_name(list);
}

// A number of a range, said in a word: CLI11 would append type and bounds to the word.
template <class T>
CLI::Option* add_number(CLI::App& app, const std::string& flags, T& value, T least, T most,
                        const std::string& word, const std::string& help) {
  return app.add_option(flags, value, help)
      ->check(CLI::Range(least, most).description(""))
      ->type_name(word);
}

void add_globals(CLI::App& app, GlobalOptions& global) {
  app.add_option("--socket", global.socket,
                 "The socket at which programs attach ($WEIR_SOCKET, else agent.sock in the "
                 "runtime directory)")
      ->type_name("PATH");
  app.add_option("--runtime-dir", global.runtime_dir,
                 "The agent's directory ($WEIR_RUNTIME_DIR, else /run/weir)")
      ->type_name("DIR");
  add_choice<Output>(app, "-o,--output", global.output,
                     {{"table", Output::table}, {"json", Output::json}}, "How to print");
  add_choice<ColorMode>(
      app, "--color", global.color,
      {{"auto", ColorMode::automatic}, {"always", ColorMode::always}, {"never", ColorMode::never}},
      "Whether to print in colour");
  app.add_flag("--no-header", global.no_header, "Tables without titles");
}

void add_reading(CLI::App& app, Options& options) {
  app.add_subcommand("status", "The agent: its rules, clock, domains and CPU");
  auto* list = app.add_subcommand("list", "All limits and resources, a line each");
  list->add_option("PATTERN", options.list.pattern, "Only names that match a shell pattern")
      ->type_name("");
  list->add_option("--domain", options.list.domain, "Only this domain")->type_name("NAME");
  add_choice(*list, "--sort", options.list.sort, sort_words(), "Order");
  list->add_flag("--names", options.list.names, "Names alone, for scripts");
  list->add_flag("--resources", options.list.resources, "Resources alone");
  auto* show = app.add_subcommand("show", "One limit or resource, explained");
  show->add_option("NAME", options.show.name, "The limit or resource")->type_name("")->required();
  show->add_option("--domain", options.show.domain, "In this domain")->type_name("NAME");
  auto* top = app.add_subcommand("top", "All limits and resources, live");
  add_number(*top, "-d,--delay", options.top.interval_s, 0.001, 60.0, "SECONDS",
             "Time between two looks, at most 60 (1)");
  add_choice(*top, "--sort", options.top.sort, sort_words(), "Order");
  top->add_option("--filter", options.top.filter, "Only names that contain this text")
      ->type_name("TEXT");
  top->add_flag("--resources", options.top.resources, "Begin with the resources");
  top->add_flag("--once", options.top.once, "Print one screen as text and end");
  add_number(*top, "--width", options.top.width, 40U, 1000U, "COLUMNS",
             "--once: columns of the text (100)");
  add_number(*top, "--samples", options.top.samples, 1U, 1000U, "COUNT",
             "--once: looks before printing (2)");
  app.add_subcommand("clients", "The processes that are attached");
}

void add_take(CLI::App& app, Options& options) {
  auto* take = app.add_subcommand(
      "take", "Take tokens from a limit; then run the COMMAND after --, if there is one");
  take->add_option("NAME", options.take.name, "The limit")->type_name("")->required();
  add_number(*take, "-n,--tokens", options.take.tokens, 1U, UINT32_MAX, "N", "How many tokens (1)");
  take->add_option("--wait", options.take_wait, "Wait in turn for at most this long, as 500ms, 2s")
      ->type_name("DURATION")
      ->check([](const std::string& text) -> std::string {
        const auto parsed = weir::parse_duration_ns(text);
        return parsed.value ? std::string{} : "'" + text + "' " + parsed.error;
      });
  add_choice(*take, "--class", options.take.priority_class, class_words(), "Whose call it is");
  take->add_flag("--allow-without-agent", options.take.allow_without_agent,
                 "Admit when no agent answers, instead of exit code 69");
  take->footer(
      "weir take NAME [OPTIONS] -- COMMAND [ARGUMENT...]\n"
      "The exit code is the command's own; 75 when the limit refused.");
}

void add_rules(CLI::App& app, Options& options) {
  auto* rules = app.add_subcommand("rules", "Check, compare and apply rules files");
  rules->require_subcommand(1);
  auto* check = rules->add_subcommand("check", "Check a file; needs no agent");
  check->add_option("FILE", options.rules.file, "Default: /etc/weir/rules.yaml")->type_name("");
  auto* apply = rules->add_subcommand("apply", "Let the agent take a file, or read its own again");
  apply->add_option("FILE", options.rules.file, "Default: the agent's own rules file")
      ->type_name("");
  apply->add_flag("--save", options.rules.save, "Replace the agent's rules file by FILE, too");
  apply->add_flag("--dry-run", options.rules.dry_run, "Check and compare only");
  auto* diff = rules->add_subcommand("diff", "What apply would change");
  diff->add_option("FILE", options.rules.file, "Default: the agent's own rules file")
      ->type_name("");
  diff->add_flag("--exit-code", options.rules.exit_code, "Exit 1 when something would change");
}

void add_cluster(CLI::App& app, Options& options) {
  auto* cluster = app.add_subcommand("cluster", "What the token server knows of limits and hosts");
  cluster->require_subcommand(1);
  cluster->add_subcommand("status", "The server and all limits of the namespace");
  auto* hosts = cluster->add_subcommand(
      "hosts", "Who wants, has and spends what of a limit, or holds which permits");
  hosts->add_option("NAME", options.cluster_limit, "The limit or resource; without one, all hosts")
      ->type_name("");
  auto* top = cluster->add_subcommand("top", "The limits of the cluster, live");
  add_number(*top, "-d,--delay", options.cluster_top.interval_s, 0.1, 60.0, "SECONDS",
             "Time between two looks, at most 60 (1)");
  add_choice(*top, "--sort", options.cluster_top.sort, sort_words(), "Order; waiting: by wanted");
  top->add_flag("--once", options.cluster_top.once, "Print one screen as text and end");
}

void add_helping(CLI::App& app, Options& options) {
  auto* doctor = app.add_subcommand("doctor", "Find what is wrong with an installation");
  doctor->add_option("--rules", options.doctor.rules_file, "Check this rules file")
      ->type_name("FILE");
  doctor->add_flag("--all", options.doctor.all, "Print what is in order, too");
  auto* bench = app.add_subcommand("bench", "Measure a decision here, for a few seconds");
  bench->add_option("NAME", options.bench.name, "Also this limit; takes real tokens")
      ->type_name("");
  add_number(*bench, "--seconds", options.bench.seconds, 0.01, 600.0, "SECONDS",
             "How long in all (3)");
  add_number(*bench, "--threads", options.bench.threads, 1U, 64U, "COUNT",
             "How many threads besides one (CPUs, at most 4)");
  app.add_subcommand("version", "The versions of weir, libweir and the agent");
  auto* completion = app.add_subcommand("completion", "Print a completion script");
  completion->add_option("SHELL", options.shell, "bash or zsh")->required()->type_name("");
}

void build(CLI::App& app, Options& options) {
  app.name("weir");
  app.footer(kFooter);
  app.require_subcommand(1);
  app.fallthrough();
  // An alias may hold options that the line then overrides: the last one counts.
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.set_version_flag("--version", std::string{"weir "} + kVersion);
  add_globals(app, options.global);
  add_reading(app, options);
  add_take(app, options);
  add_rules(app, options);
  add_cluster(app, options);
  add_quota(app, options.quota);
  add_audit(app, options.quota);
  add_toolkit(app, options.toolkit);
  add_helping(app, options);
}

bool wants_color(const GlobalOptions& global, const Host& host) {
  if (global.color != ColorMode::automatic) return global.color == ColorMode::always;
  const char* no_color = host.environment("NO_COLOR");
  return host.out_is_terminal && (no_color == nullptr || *no_color == '\0');
}

int run_rules(const CLI::App& rules, const Context& context, const RulesOptions& options) {
  if (rules.got_subcommand("check")) return cmd_rules_check(context, options);
  if (rules.got_subcommand("apply")) return cmd_rules_apply(context, options);
  return cmd_rules_diff(context, options);
}

int run_cluster(const CLI::App& cluster, const Context& context, const Options& options) {
  if (cluster.got_subcommand("status")) return cmd_cluster_status(context);
  if (cluster.got_subcommand("hosts")) return cmd_cluster_hosts(context, options.cluster_limit);
  return cmd_cluster_top(context, options.cluster_top);
}

int dispatch(const CLI::App& app, const Context& context, Options& options, const Host& host) {
  const CLI::App& command = *app.get_subcommands().front();
  const std::string& name = command.get_name();
  if (name == "status") return cmd_status(context);
  if (name == "list") return cmd_list(context, options.list);
  if (name == "show") return cmd_show(context, options.show);
  if (name == "top") return cmd_top(context, options.top);
  if (name == "clients") return cmd_clients(context);
  if (name == "take") return cmd_take(context, options.take, host.run_command);
  if (name == "cluster") return run_cluster(command, context, options);
  if (name == "quota" || name == "audit")
    return run_quota(command, context, options.quota, host.environment);
  if (name == "breaker" || name == "degrade" || name == "load")
    return run_toolkit(command, context, options.toolkit);
  if (name == "rules") return run_rules(command, context, options.rules);
  if (name == "doctor") return cmd_doctor(context, options.doctor);
  if (name == "bench") return cmd_bench(context, options.bench);
  if (name == "version") return cmd_version(context);
  return cmd_completion(context, options.shell);
}

bool is_take(const std::vector<std::string>& arguments) {
  static const std::vector<std::string> kWithValue{"--socket", "--runtime-dir", "-o", "--output",
                                                   "--color"};
  for (auto argument = arguments.begin(); argument != arguments.end(); ++argument) {
    if (std::find(kWithValue.begin(), kWithValue.end(), *argument) != kWithValue.end()) {
      if (++argument == arguments.end()) return false;
    } else if (!argument->starts_with('-')) {
      return *argument == "take";
    }
  }
  return false;
}

// What comes after -- is the command's, options included, and never ours to read.
bool split_command(std::vector<std::string>& arguments, TakeOptions& take) {
  const auto mark = std::find(arguments.begin(), arguments.end(), "--");
  if (mark == arguments.end() || !is_take({arguments.begin(), mark})) return true;
  take.command.assign(mark + 1, arguments.end());
  arguments.erase(mark, arguments.end());
  return !take.command.empty();
}

int usage_error(const Host& host, const CLI::ParseError& error, const Options& options) {
  std::string text = error.what();
  std::string hint = "`weir --help` lists commands and options";
  if (!options.take.name.empty() && dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr)
    hint = "the command to run comes after --: weir take NAME -- COMMAND";
  host.err << "weir: " << escape_lines(text, host.charset) << "\n      " << hint << '\n';
  return kExitUsage;
}

}  // namespace

int run_program(std::vector<std::string> arguments, const Host& host) {
  Options options;
  CLI::App app{"weir: look at and use the rate limits of this host"};
  build(app, options);
  if (!split_command(arguments, options.take)) {
    host.err << "weir: after -- there must be a command\n";
    return kExitUsage;
  }
  try {
    std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants them
    app.parse(std::move(arguments));
  } catch (const CLI::Success& help) {
    app.exit(help, host.out, host.err);
    return kExitOk;
  } catch (const CLI::ParseError& error) {
    return usage_error(host, error, options);
  }
  if (!options.take_wait.empty())
    options.take.wait_ns = weir::parse_duration_ns(options.take_wait).value.value_or(0);
  const Context context{host.out,
                        host.err,
                        resolve_paths(options.global, host.environment),
                        options.global.output,
                        wants_color(options.global, host),
                        !options.global.no_header,
                        host.charset};
  return dispatch(app, context, options, host);
}

std::vector<std::string> command_names() {
  Options options;
  CLI::App app;
  build(app, options);
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(command->get_name());
  return names;
}

}  // namespace weir::cli
