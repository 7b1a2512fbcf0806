// The options of `weir quota` and `weir audit`, and their way to the commands. Internal.
#pragma once

#include "agent/cli/quota.h"

namespace CLI {
class App;
}

namespace weir::cli {

void add_quota(CLI::App& app, QuotaOptions& options);
void add_audit(CLI::App& app, QuotaOptions& options);
int run_quota(const CLI::App& command, const Context& context, const QuotaOptions& options,
              const Environment& environment);

}  // namespace weir::cli
