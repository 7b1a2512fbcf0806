// weir quota and weir audit: what the token server's HTTP API does, at the shell.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "agent/cli/api_client.h"
#include "agent/cli/context.h"
#include "agent/cli/json.h"

namespace weir::cli {

struct QuotaOptions {
  std::optional<std::string> api;         // else $WEIR_API, else kDefaultApi
  std::optional<std::string> api_ca;      // else $WEIR_API_CA
  std::optional<std::string> token_file;  // else $WEIR_TOKEN_FILE
  std::string name_space = "default";
  std::string quota;
  std::string key;
  std::string once;  // the Idempotency-Key of a change
  // Of create and configure; what is not given stays as it is.
  std::optional<std::string> type, period, timezone, valid_until;
  std::optional<std::int64_t> total, rate, burst;
  std::int64_t amount = 0;       // top-up
  std::string agent_epoch;       // write-back
  std::string chunk;             // write-back: its seq; empty: all that are lost
  bool lost = false;             // list
  std::uint32_t limit = 100;     // list: rows
  std::string after;             // list
  std::string action, from, to;  // audit
  std::uint32_t page = 1, page_size = 100;
  std::uint64_t before = 0;
};

// `verb` as it stands on the command line: list, show, create, ...
int cmd_quota(const Context& context, const std::string& verb, const QuotaOptions& options,
              const Environment& environment);
// What the agent of this host says; no token server is asked.
int cmd_quota_held(const Context& context, const QuotaOptions& options);
net::Result<v1::QuotasResponse> fetch_quotas(const Context& context, const std::string& quota,
                                             const std::string& key, std::uint32_t keys_max);
Json to_json(const v1::QuotaKeyStatus& key);
void print_quota_keys(const Context& context, const v1::QuotasResponse& quotas);

int cmd_audit(const Context& context, const QuotaOptions& options, const Environment& environment);

}  // namespace weir::cli
