// The parts of quota_parse.cpp that the server's file needs. Internal to this folder.
#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "rules/parse_parts.h"
#include "rules/quota.h"

namespace weir {

inline constexpr std::array<std::string_view, 3> kQuotaKindNames{"count", "time", "hybrid"};
inline constexpr std::array<std::string_view, 4> kQuotaEveryNames{"none", "day", "week", "month"};
inline constexpr std::array<std::string_view, 2> kQuotaKeysNames{"listed", "any"};
inline constexpr std::array<std::string_view, 3> kStoreSyncNames{"full", "normal", "off"};
inline constexpr std::array<std::string_view, 3> kApiRoleNames{"reader", "operator", "admin"};

std::string_view to_text(QuotaKind kind) noexcept;
std::string_view to_text(QuotaEvery every) noexcept;

std::vector<QuotaRule> read_quotas(const MapReader& map, ParseContext& context);
StoreRule read_store(const MapReader& root, ParseContext& context);
std::vector<ApiToken> read_api(const MapReader& root, ParseContext& context);

}  // namespace weir
