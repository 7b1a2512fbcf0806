// What `-o json` prints. The keys are a promise: weir(1) lists them, tests/unit/cli pins them.
#pragma once

#include <nlohmann/json.hpp>

#include "agent/cli/context.h"

namespace weir::cli {

// Keys in the order in which they were written.
using Json = nlohmann::ordered_json;

Json to_json(const v1::StatusResponse& status);
Json to_json(const v1::DomainStatus& domain);
Json to_json(const v1::CpuStatus& cpu);
Json to_json(const v1::UpstreamStatus& upstream);
Json to_json(const v1::LimitStatus& limit);
Json to_json(const v1::LeaseStatus& lease);
Json to_json(const v1::ClientStatus& client);
Json to_json(const v1::ApplyResponse& answer);

// Pure ASCII, so that no name can reach the terminal unescaped.
void print_json(const Context& context, const Json& json);

}  // namespace weir::cli
