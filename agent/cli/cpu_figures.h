// The agent's CPU figures, with the absent ones absent.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "weir/v1/admin.pb.h"

namespace weir::cli {

struct CpuFigures {
  explicit CpuFigures(const v1::CpuStatus& cpu);

  std::string blind_reason;  // why nothing is measured now; empty when something is
  std::optional<std::uint32_t> usage_permille;
  std::optional<std::uint32_t> smoothed_permille;  // outlives a short blindness
  std::optional<std::uint32_t> capacity_millicpus;
  std::optional<std::uint32_t> throttled_permille;
  std::optional<std::uint32_t> psi_some_avg10_centipercent;
  std::optional<std::uint32_t> host_usage_permille;
  std::optional<std::uint64_t> age_ms;
};

}  // namespace weir::cli
