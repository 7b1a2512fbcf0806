// weir-server: divides the limits of a cluster among its hosts.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <iostream>

#include "daemon/program/log_arguments.h"
#include "net/secret.h"
#include "server/app.h"
#include "server/config.h"
#include "server/db_command.h"
#include "server/etcd/rules_command.h"

namespace {

using namespace weir;
using namespace weir::server;

struct Arguments {
  server::AppOptions options;
  LogArguments log;
  bool check = false;
  bool hash_token = false;
  server::DbOptions db;
  int (*db_command)(const server::DbOptions&) = nullptr;
  server::RulesOptions rules;
  int (*rules_command)(const server::RulesOptions&) = nullptr;
};

void declare_db(CLI::App& cli, Arguments& arguments) {
  auto* db = cli.add_subcommand("db", "The store of the quotas and the audit log");
  db->require_subcommand(1);
  db->fallthrough();
  db->add_option("--store", arguments.db.store,
                 "The store; default: quotas.db in the state directory of the server's file")
      ->type_name("FILE");
  const auto command = [&](const char* name, const char* help,
                           int (*run)(const server::DbOptions&)) {
    auto* one = db->add_subcommand(name, help);
    one->fallthrough();
    one->callback([&arguments, run] { arguments.db_command = run; });
    return one;
  };
  command("backup", "A whole copy, while the server goes on", db_backup)
      ->add_option("TO", arguments.db.copy, "A file that is not there yet")
      ->type_name("")
      ->required();
  auto* restore =
      command("restore", "Put a copy in place of the store of a stopped server", db_restore);
  restore->add_option("FROM", arguments.db.copy, "What backup made")->type_name("")->required();
  restore->add_flag("--keep-active", arguments.db.keep_active,
                    "Do not suspend the quotas: what was handed out since may be so again");
  command("migrate", "Take the store to another version, as before going back to an older program",
          db_migrate)
      ->add_option("--to", arguments.db.to_version, "Default: the version of this program")
      ->type_name("VERSION");
  command("check", "Look at every page, every row and every book", db_check);
}

void declare_rules(CLI::App& cli, Arguments& arguments) {
  auto* rules = cli.add_subcommand("rules", "The namespaces that servers on etcd follow");
  rules->require_subcommand(1);
  rules->fallthrough();
  const auto command = [&](const char* name, const char* help, const char* what,
                           int (*run)(const server::RulesOptions&)) {
    auto* one = rules->add_subcommand(name, help);
    one->fallthrough();
    one->add_option("DOCUMENT", arguments.rules.document, what)->type_name("")->required();
    one->callback([&arguments, run] { arguments.rules_command = run; });
  };
  command("put", "Check a document and put it into etcd; servers follow at once",
          "'version' and 'namespaces'; - for standard input", rules_put);
  command("get", "Write what etcd has", "A file; - for standard output", rules_get);
}

void declare(CLI::App& cli, Arguments& arguments) {
  cli.set_version_flag("--version", "weir-server " WEIR_VERSION_TEXT);
  cli.add_option("--config,file", arguments.options.file, "The server's file (YAML)")
      ->capture_default_str();
  cli.add_option("--name", arguments.options.name,
                 "What agents and operators are told; default: the host's name");
  cli.add_option("--http", arguments.options.http,
                 "ADDRESS:PORT of /metrics and /healthz, or off, in place of 'http' in the file");
  cli.add_option("--state-dir", arguments.options.state_dir, "In place of 'state_dir' in the file");
  declare_log(cli, arguments.log);
  cli.add_flag("--check", arguments.check, "Check the file and exit");
  cli.add_flag("--hash-token", arguments.hash_token,
               "Read a token from standard input, print what belongs under 'tokens', and exit");
  declare_db(cli, arguments);
  declare_rules(cli, arguments);
}

int check_file(const std::string& path) {
  const ServerParseResult parsed = load_server_file(path);
  for (const Problem& problem : parsed.problems)
    std::fprintf(stderr, "%s\n", to_string(problem).c_str());
  if (parsed.problems_left_out != 0)
    std::fprintf(stderr, "... and %zu more\n", parsed.problems_left_out);
  if (!parsed.ok()) return kExitConfig;
  for (const Problem& warning : parsed.rules->warnings)
    std::fprintf(stderr, "warning: %s\n", to_string(warning).c_str());
  for (const NamespaceRule& rule : parsed.rules->namespaces) {
    if (const std::string problem = limits_problem(rule); !problem.empty()) {
      std::fprintf(stderr, "%s:%d:1: %s\n", path.c_str(), rule.line, problem.c_str());
      return kExitConfig;
    }
  }
  std::printf("%s: ok\n", path.c_str());
  return kExitOk;
}

int hash_token() {
  std::string token;
  std::getline(std::cin, token);
  if (!token.empty() && token.back() == '\r') token.pop_back();
  if (token.empty()) {
    std::fprintf(stderr,
                 "weir-server: no token on standard input; try: openssl rand -hex 32 | "
                 "tee token | weir-server --hash-token\n");
    return kExitUsage;
  }
  std::printf("%s\n", net::token_hash(token).c_str());
  return kExitOk;
}

}  // namespace

int main(int argc, char** argv) try {
  Arguments arguments;
  CLI::App cli("weir-server divides the limits of a cluster among its hosts.", "weir-server");
  declare(cli, arguments);
  try {
    cli.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return cli.exit(error) == 0 ? kExitOk : kExitUsage;
  }
  if (arguments.db_command != nullptr) {
    arguments.db.file = arguments.options.file;
    arguments.db.state_dir = arguments.options.state_dir;
    return arguments.db_command(arguments.db);
  }
  if (arguments.rules_command != nullptr) {
    arguments.rules.file = arguments.options.file;
    return arguments.rules_command(arguments.rules);
  }
  if (arguments.hash_token) return hash_token();
  if (arguments.check) return check_file(arguments.options.file);
  if (const std::string error = start_log(arguments.log); !error.empty()) {
    std::fprintf(stderr, "weir-server: %s\n", error.c_str());
    return kExitInternal;
  }
  server::App app(std::move(arguments.options));
  return app.run();
} catch (const std::exception& error) {
  std::fprintf(stderr, "weir-server: %s\n", error.what());
  return kExitInternal;
}
