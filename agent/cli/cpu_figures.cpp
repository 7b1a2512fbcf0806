#include "agent/cli/cpu_figures.h"

namespace weir::cli {

CpuFigures::CpuFigures(const v1::CpuStatus& cpu) : blind_reason(cpu.blind_reason()) {
  const bool no_source = cpu.source().empty() || cpu.source() == "none";
  if (blind_reason.empty() && no_source) blind_reason = "no source of figures";
  if (cpu.has_usage_permille()) usage_permille = cpu.usage_permille();
  if (cpu.has_smoothed_permille()) smoothed_permille = cpu.smoothed_permille();
  if (cpu.has_capacity_millicpus()) capacity_millicpus = cpu.capacity_millicpus();
  if (cpu.has_throttled_permille()) throttled_permille = cpu.throttled_permille();
  if (cpu.has_psi_some_avg10_centipercent())
    psi_some_avg10_centipercent = cpu.psi_some_avg10_centipercent();
  if (cpu.has_host_usage_permille()) host_usage_permille = cpu.host_usage_permille();
  if (cpu.has_age_ms()) age_ms = cpu.age_ms();
}

}  // namespace weir::cli
