// The options of `weir quota` and `weir audit`.
#include "agent/cli/app_quota.h"

#include <CLI/CLI.hpp>

namespace weir::cli {

namespace {

CLI::App* verb(CLI::App& quota, QuotaOptions& options, const char* name, const char* help) {
  auto* command = quota.add_subcommand(name, help);
  command->add_option("QUOTA", options.quota, "The quota")->type_name("")->required();
  command->add_option("KEY", options.key, "Its key")->type_name("")->required();
  return command;
}

void add_once(CLI::App& command, QuotaOptions& options) {
  command.add_option("--once", options.once, "The same change with the same ID is done once")
      ->type_name("ID");
}

void add_config(CLI::App& command, QuotaOptions& options) {
  command.add_option("--type", options.type, "What it counts")->type_name("count|time|hybrid");
  command.add_option("--total", options.total, "Units in each period")->type_name("N");
  command.add_option("--period", options.period, "When it begins anew")
      ->type_name("none|day|week|month");
  command.add_option("--timezone", options.timezone, "Of the period's edges")->type_name("ZONE");
  command.add_option("--valid-until", options.valid_until, "As 2027-01-31T00:00:00Z")
      ->type_name("TIME");
  command.add_option("--rate", options.rate, "Units a minute, whatever is left")->type_name("N");
  command.add_option("--burst", options.burst, "Of the rate")->type_name("N");
}

void add_server(CLI::App& command, QuotaOptions& options) {
  command.fallthrough();
  command.add_option("--api", options.api, "Of the token server ($WEIR_API, else 127.0.0.1:9466)")
      ->type_name("[https://]HOST:PORT");
  command
      .add_option("--api-ca", options.api_ca,
                  "Who signed the certificate of an https API, if not somebody whom the system "
                  "trusts ($WEIR_API_CA)")
      ->type_name("FILE");
  command
      .add_option("--token-file", options.token_file,
                  "Its first line is the API's token ($WEIR_TOKEN_FILE)")
      ->type_name("FILE");
  command.add_option("--namespace", options.name_space, "Whose (default)")->type_name("NAME");
}

}  // namespace

void add_quota(CLI::App& app, QuotaOptions& options) {
  auto* quota = app.add_subcommand("quota", "Counts that last, on the token server");
  quota->require_subcommand(1);
  add_server(*quota, options);
  auto* list = quota->add_subcommand("list", "Keys, a line each");
  list->add_option("QUOTA", options.quota, "Only of this quota")->type_name("");
  list->add_option("--limit", options.limit, "At most so many (100; up to 1000)")->type_name("N");
  list->add_option("--after", options.after, "Where the page before ended")->type_name("CURSOR");
  list->add_flag("--lost", options.lost, "Only keys that have lost units");
  verb(*quota, options, "show", "A key, and who holds what of it");
  auto* held = quota->add_subcommand("held", "What this host holds of keys, as its agent knows");
  held->add_option("QUOTA", options.quota, "Only of this quota, and")->type_name("");
  held->add_option("KEY", options.key, "this key")->type_name("");
  held->add_option("--limit", options.limit, "At most so many (100)")->type_name("N");
  auto* create = verb(*quota, options, "create", "Make a key");
  auto* configure = verb(*quota, options, "configure", "Change what is said");
  for (auto* command : {create, configure})
    add_config(*command, options);
  auto* top_up = verb(*quota, options, "top-up", "More units, or a later end");
  top_up->add_option("AMOUNT", options.amount, "Units")->type_name("");
  top_up->add_option("--valid-until", options.valid_until, "As 2027-01-31T00:00:00Z")
      ->type_name("TIME");
  auto* reset = verb(*quota, options, "reset", "Begin anew with its total");
  reset->add_option("--total", options.total, "Or with this one, once")->type_name("N");
  auto* suspend = verb(*quota, options, "suspend", "Hand nothing out any more");
  auto* resume = verb(*quota, options, "resume", "Hand out again");
  auto* remove = verb(*quota, options, "delete", "Delete a key");
  auto* write_back = verb(*quota, options, "write-back", "Top up by what was lost with a host");
  write_back->add_option("--agent", options.agent_epoch, "The agent epoch that `show` has")
      ->type_name("EPOCH")
      ->required();
  write_back->add_option("--chunk", options.chunk, "Only this chunk")->type_name("SEQ");
  for (auto* command : {create, configure, top_up, reset, suspend, resume, remove, write_back})
    add_once(*command, options);
  for (auto* command : quota->get_subcommands([](const CLI::App*) { return true; }))
    command->fallthrough();
}

void add_audit(CLI::App& app, QuotaOptions& options) {
  auto* audit = app.add_subcommand("audit", "What was done to quotas, by whom, the newest first");
  add_server(*audit, options);
  audit->add_option("QUOTA", options.quota, "Only of this quota, and")->type_name("");
  audit->add_option("KEY", options.key, "this key")->type_name("");
  audit->add_option("--action", options.action, "Only this: grant, consume, lost ...")
      ->type_name("ACTION");
  audit->add_option("--from", options.from, "Not before, as 2027-01-31T00:00:00Z")
      ->type_name("TIME");
  audit->add_option("--to", options.to, "Only before")->type_name("TIME");
  audit->add_option("--page", options.page, "Which page (1)")->type_name("N");
  audit->add_option("--page-size", options.page_size, "Rows of a page (100; up to 10000)")
      ->type_name("N");
  audit->add_option("--before", options.before, "Only older than this row")->type_name("ID");
}

int run_quota(const CLI::App& command, const Context& context, const QuotaOptions& options,
              const Environment& environment) {
  if (command.get_name() == "audit") return cmd_audit(context, options, environment);
  if (command.get_subcommands().front()->get_name() == "held")
    return cmd_quota_held(context, options);
  return cmd_quota(context, command.get_subcommands().front()->get_name(), options, environment);
}

}  // namespace weir::cli
