// Decisions that read what the agent published and write nothing that is shared.
#include "adaptive/degrade.h"
#include "adaptive/shed_word.h"
#include "libclient/toolkit.h"

using namespace weir::client;
using namespace weir::shm;
namespace adaptive = weir::adaptive;

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

std::uint64_t in_flight_of(const weir_resource& resource) noexcept {
  const std::int64_t total = resource.counter.load(kRelaxed)->in_flight.load(kRelaxed);
  return total > 0 ? static_cast<std::uint64_t>(total) : 0;
}

bool agent_gone(const weir_resource& resource) noexcept {
  return weir::client::agent_gone(*resource.client,
                                  resource.attachment.load(std::memory_order_acquire), &resource);
}

}  // namespace

extern "C" {

weir_status weir_shed(weir_resource* resource, int32_t priority_class) {
  const bool first = (priority_class & WEIR_RETRY) == 0;
  priority_class &= ~WEIR_RETRY;
  if (resource == nullptr || !class_ok(priority_class)) [[unlikely]]
    return WEIR_E_INVALID;
  const std::uint32_t tools = tools_of(*resource);
  if ((tools & kToolActive) == 0) return WEIR_ALLOW;
  OutcomeLane& lane = *resource->lanes.load(kRelaxed);
  if ((tools & kToolShed) != 0) {
    const ResourceRule& rule = *resource->rule.load(kRelaxed);
    // Two loads, and the agent may publish in between: each is a decision of its own.
    const adaptive::ShedWords words{.limits = rule.shed_limits.load(kRelaxed),
                                    .refusals = rule.shed_refusals.load(kRelaxed)};
    if ((words.limits | words.refusals) != 0 &&
        adaptive::sheds(words, static_cast<adaptive::Criticality>(priority_class),
                        in_flight_of(*resource), words.refusals != 0 ? draw() : 0) &&
        !agent_gone(*resource)) {
      if (first) count(*resource, lane.refused[priority_class], 1);
      return WEIR_DENY_SHED;
    }
  }
  if (first) count(*resource, lane.passed[priority_class], 1);
  return WEIR_ALLOW;
}

weir_status weir_throttle(weir_resource* resource) {
  if (resource == nullptr) [[unlikely]]
    return WEIR_E_INVALID;
  if ((tools_of(*resource) & kToolThrottle) == 0) return WEIR_ALLOW;
  // A share of all would refuse the probes as well, whoever wrote it.
  const std::uint32_t share = std::min(resource->rule.load(kRelaxed)->throttle_share.load(kRelaxed),
                                       adaptive::kShareWhole - 1);
  if (share == 0 || draw() % adaptive::kShareWhole >= share || agent_gone(*resource))
    return WEIR_ALLOW;
  count(*resource, resource->lanes.load(kRelaxed)->throttled, 1);
  return WEIR_DENY_THROTTLED;
}

int32_t weir_degraded(weir_feature* feature) {
  if (feature == nullptr) return 0;
  const std::uint64_t expected = feature->expected.load(std::memory_order_acquire);
  const FeatureRule* rule = feature->rule.load(kRelaxed);
  const std::uint64_t hot = rule->hot.load(kRelaxed) == expected ? expected : hot_again(*feature);
  if (hot == 0) return 0;
  const std::uint64_t word = feature->rule.load(kRelaxed)->degrade.load(kRelaxed);
  // All is well: neither a level nor a drill.
  if (word == 0) return 0;
  if (!adaptive::degraded(word, static_cast<std::uint32_t>(hot), draw())) return 0;
  const Attachment* at = feature->attachment.load(std::memory_order_acquire);
  return weir::client::agent_gone(*feature->client, at, feature) ? 0 : 1;
}

}  // extern "C"
