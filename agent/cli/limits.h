// Fetching, ordering and picking limits: shared by list, show and top.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "agent/cli/commands.h"

namespace weir::cli {

using Limits = std::vector<v1::LimitStatus>;

// Empty strings mean all.
net::Result<Limits> fetch_limits(net::AdminClient& client, const std::string& domain,
                                 const std::string& name);
net::Result<Limits> fetch_limits(const Context& context, const std::string& domain,
                                 const std::string& name);

// By name upwards, by figures downwards; equal figures by name.
void sort_limits(Limits& limits, SortKey key, bool reverse = false);
std::string_view to_text(SortKey key) noexcept;

// "300/s": the agent's text, or our own where it sent none.
std::string rate_of(const v1::LimitStatus& limit);
// How full the bucket is, 0 to 1.
double fill_of(const v1::LimitStatus& limit) noexcept;
bool in_more_than_one_domain(const Limits& limits);

// " Did you mean '/api/order'?", or nothing.
std::string suggestion(const Context& context, const Limits& limits, std::string_view name);

}  // namespace weir::cli
