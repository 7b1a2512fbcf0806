#include "agent/cli/cpu_figures.h"

namespace weir::cli {

CpuFigures::CpuFigures(const v1::CpuStatus& cpu) : blind_reason(cpu.blind_reason()) {
  const bool no_source = cpu.source().empty() || cpu.source() == "none";
  if (blind_reason.empty() && no_source) blind_reason = "no source of figures";
  const bool blind = !blind_reason.empty();
  // While the agent is blind a 0 may be a figure that it does not have; better none than a wrong
  // one. What is not 0 was measured.
  const auto keep = [&](auto& figure, auto value) {
    if (!blind || value != 0) figure = value;
  };
  if (!blind) usage_permille = cpu.usage_permille();
  keep(smoothed_permille, cpu.smoothed_permille());
  if (cpu.capacity_millicpus() != 0) capacity_millicpus = cpu.capacity_millicpus();
  // Only control groups are throttled.
  if (cpu.source() != "host" || cpu.throttled_permille() != 0)
    keep(throttled_permille, cpu.throttled_permille());
  keep(psi_some_avg10_centipercent, cpu.psi_some_avg10_centipercent());
  keep(host_usage_permille, cpu.host_usage_permille());
  keep(age_ms, cpu.age_ms());
}

}  // namespace weir::cli
