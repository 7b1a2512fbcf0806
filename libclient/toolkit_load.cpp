// Deadlines, and what the host tells balancers.
#include <algorithm>
#include <cstring>
#include <new>
#include <string>

#include "adaptive/deadline.h"
#include "adaptive/feedback.h"
#include "libclient/toolkit.h"

using namespace weir::client;
using namespace weir::shm;
namespace adaptive = weir::adaptive;

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

double milli(const A64& word) noexcept { return static_cast<double>(word.load(kRelaxed)) / 1000.0; }

// What is known now. Figures of an agent that is gone are not known.
adaptive::LoadReport report_of(weir_resource& resource, std::int32_t* breaker_state) noexcept {
  adaptive::LoadReport report;
  if (breaker_state != nullptr) *breaker_state = 0;
  if ((tools_of(resource) & kToolActive) == 0) return report;
  const Attachment* at = resource.attachment.load(std::memory_order_acquire);
  if (at == nullptr || !at->agent_alive(at->now_ns())) return report;
  const ResourceRule& rule = *resource.rule.load(kRelaxed);
  const RulesHeader& header = at->rules.header();
  const std::uint32_t cpu = header.cpu_smoothed_permille.load(kRelaxed);
  if (header.cpu_sampled_mono_ns.load(kRelaxed) != 0 && cpu != kCpuAbsent)
    report.cpu_utilization = cpu / 1000.0;
  const std::int64_t in_flight = resource.counter.load(kRelaxed)->in_flight.load(kRelaxed);
  report.in_flight = static_cast<double>(
      std::clamp<std::int64_t>(in_flight, 0, static_cast<std::int64_t>(kPermitsMax)));
  if (const std::uint64_t limit = rule.concurrency.load(kRelaxed); limit != 0)
    report.limit = static_cast<double>(std::min(limit, kPermitsMax));
  if (rule.figures_mono_ns.load(kRelaxed) != 0) {
    report.requests_per_second = milli(rule.requests_per_s_milli);
    report.errors_per_second = milli(rule.errors_per_s_milli);
    report.shed_share = std::min(rule.shed_permille.load(kRelaxed), 1000U) / 1000.0;
  }
  if (breaker_state != nullptr) {
    const auto state =
        static_cast<std::int32_t>(resource.counter.load(kRelaxed)->breaker.load(kRelaxed) & 7U);
    *breaker_state = state <= 4 ? state : 0;
  }
  return report;
}

}  // namespace

extern "C" {

weir_status weir_load_read(weir_resource* resource, weir_load* load) {
  if (resource == nullptr || load == nullptr || load->struct_bytes < sizeof(std::uint32_t))
    return WEIR_E_INVALID;
  weir_load out{};
  const adaptive::LoadReport report = report_of(*resource, &out.breaker_state);
  out.struct_bytes = std::min<std::uint32_t>(load->struct_bytes, sizeof(out));
  out.cpu_utilization = report.cpu_utilization;
  out.in_flight = report.in_flight;
  out.limit = report.limit;
  out.requests_per_second = report.requests_per_second;
  out.errors_per_second = report.errors_per_second;
  out.shed_share = report.shed_share;
  out.utilization = adaptive::utilization(report);
  std::memcpy(load, &out, out.struct_bytes);
  return WEIR_OK;
}

weir_status weir_orca(weir_resource* resource, int32_t format, char* text, size_t text_bytes,
                      size_t* bytes_needed) {
  if (resource == nullptr || (text == nullptr && text_bytes != 0) ||
      (format != WEIR_ORCA_TEXT && format != WEIR_ORCA_JSON))
    return WEIR_E_INVALID;
  // No exception may leave a C function.
  try {
    const adaptive::LoadReport report = report_of(*resource, nullptr);
    const std::string value =
        format == WEIR_ORCA_TEXT ? adaptive::orca_text(report) : adaptive::orca_json(report);
    if (bytes_needed != nullptr) *bytes_needed = value.size() + 1;
    if (value.size() + 1 > text_bytes) return WEIR_E_TOO_LARGE;
    std::memcpy(text, value.c_str(), value.size() + 1);
    return WEIR_OK;
  } catch (const std::bad_alloc&) {
    return WEIR_E_NO_MEMORY;
  }
}

int64_t weir_deadline_after(int64_t timeout_ns, int64_t default_ns, int64_t max_ns) {
  adaptive::DeadlineOptions options;
  if (default_ns > 0) options.default_ns = default_ns;
  if (max_ns > 0) options.max_ns = max_ns;
  return adaptive::Deadline::after(read_mono_ns(), timeout_ns, options).at_mono_ns();
}

int64_t weir_deadline_for(weir_resource* resource, int64_t timeout_ns) {
  if (resource == nullptr || (tools_of(*resource) & kToolActive) == 0)
    return weir_deadline_after(timeout_ns, 0, 0);
  const ResourceRule& rule = *resource->rule.load(kRelaxed);
  // A day bounds what a damaged word could say; Deadline has the default within the most.
  const auto bounded = [](const A64& word) {
    return static_cast<std::int64_t>(
        std::min<std::uint64_t>(word.load(kRelaxed), 24 * 3600 * adaptive::kSecond));
  };
  return weir_deadline_after(timeout_ns, bounded(rule.deadline_default_ns),
                             bounded(rule.deadline_max_ns));
}

int64_t weir_deadline_remaining(int64_t deadline_mono_ns) {
  return adaptive::Deadline(deadline_mono_ns).remaining_ns(read_mono_ns());
}

int64_t weir_deadline_call_timeout(int64_t deadline_mono_ns, int64_t own_timeout_ns,
                                   int64_t margin_ns) {
  return adaptive::Deadline(deadline_mono_ns)
      .call_timeout_ns(read_mono_ns(), own_timeout_ns, margin_ns);
}

int32_t weir_deadline_can_finish(int64_t deadline_mono_ns, int64_t expected_ns) {
  return adaptive::Deadline(deadline_mono_ns).can_finish(read_mono_ns(), expected_ns) ? 1 : 0;
}

}  // extern "C"
