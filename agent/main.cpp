// weir-agent: mints tokens for the processes of this host.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

#include "agent/app.h"
#include "daemon/program/log_arguments.h"

namespace {

using namespace weir;
using namespace weir::agent;

struct Arguments {
  AppOptions options;
  LogArguments log;
  std::string cpu = "busier";
  bool check = false;
};

void declare(CLI::App& cli, Arguments& arguments) {
  cli.set_version_flag("--version", "weir-agent " WEIR_VERSION_TEXT);
  cli.add_option("--runtime-dir", arguments.options.runtime_dir,
                 "Directory of the sockets and the lock")
      ->envname("WEIR_RUNTIME_DIR")
      ->capture_default_str();
  cli.add_option("--rules", arguments.options.rules_file, "The rules file (YAML)")
      ->capture_default_str();
  cli.add_option("--http", arguments.options.http,
                 "ADDRESS:PORT of /metrics and /healthz, or off; port 0 picks one")
      ->check([](const std::string& text) -> std::string {
        if (text == "off") return {};
        const std::size_t colon = text.rfind(':');
        if (colon == std::string::npos) return "must be ADDRESS:PORT or off";
        const std::string port = text.substr(colon + 1);
        if (port.empty() || port.size() > 5 ||
            port.find_first_not_of("0123456789") != std::string::npos || std::stoul(port) > 65535)
          return "the port must be a number from 0 to 65535";
        return {};
      })
      ->capture_default_str();
  cli.add_option("--state-dir", arguments.options.state_dir,
                 "Directory of an embedded token server (default: $STATE_DIRECTORY, else the "
                 "runtime directory)");
  cli.add_option("--clients-max", arguments.options.clients_max, "Most clients of a domain")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  cli.add_option("--resources-max", arguments.options.resources_max,
                 "Most resources of a domain, those of tenants included")
      ->check(CLI::Range(std::size_t{1}, kResourcesPerDomainMax))
      ->capture_default_str();
  cli.add_option("--quota-keys", arguments.options.quota_keys,
                 "Most keys of quotas in use at once; 0: none")
      ->check(CLI::Range(0U, shm::kQuotaKeysMax))
      ->capture_default_str();
  cli.add_option("--cpu", arguments.cpu, "Whose CPU use is followed: busier, host or cgroup")
      ->check(CLI::IsMember({"busier", "host", "cgroup"}))
      ->capture_default_str();
  declare_log(cli, arguments.log);
  cli.add_flag("--check", arguments.check, "Check the rules file and exit");
}

int check_rules(const std::string& path) {
  const ParseResult parsed = load_rules_file(path);
  for (const Problem& problem : parsed.problems)
    std::fprintf(stderr, "%s\n", to_string(problem).c_str());
  if (!parsed.ok()) return kExitConfig;
  for (const Problem& problem : parsed.rules->warnings)
    std::fprintf(stderr, "warning: %s\n", to_string(problem).c_str());
  std::printf("%s: ok\n", path.c_str());
  return kExitOk;
}

}  // namespace

int main(int argc, char** argv) try {
  Arguments arguments;
  CLI::App cli("weir-agent mints tokens for the processes of this host.", "weir-agent");
  declare(cli, arguments);
  try {
    cli.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return cli.exit(error) == 0 ? kExitOk : kExitUsage;
  }
  if (arguments.check) return check_rules(arguments.options.rules_file);
  if (const std::string error = start_log(arguments.log); !error.empty()) {
    std::fprintf(stderr, "weir-agent: %s\n", error.c_str());
    return kExitInternal;
  }
  arguments.options.cpu_follow = arguments.cpu == "host"     ? CpuFollow::host
                                 : arguments.cpu == "cgroup" ? CpuFollow::cgroup
                                                             : CpuFollow::busier;
  App app(std::move(arguments.options));
  return app.run();
} catch (const std::exception& error) {
  std::fprintf(stderr, "weir-agent: %s\n", error.what());
  return kExitInternal;
}
