// The fields of shm/toolkit.h and shm/quota.h as the compiler sees them, for layout_doc_test.cpp.
#pragma once

#include <cstddef>

#include "shm/quota_frame.h"
#include "shm/toolkit.h"

namespace weir::shm {

template <class Structs>
void add_toolkit(Structs& all) {
  WEIR_STRUCT(ResourceRule);
  WEIR_FIELD(ResourceRule, hot);
  WEIR_FIELD(ResourceRule, concurrency);
  WEIR_FIELD(ResourceRule, class_reserve);
  WEIR_FIELD(ResourceRule, lease_ns);
  WEIR_FIELD(ResourceRule, reserved0);
  WEIR_FIELD(ResourceRule, shed_mono_ns);
  WEIR_FIELD(ResourceRule, shed_limits);
  WEIR_FIELD(ResourceRule, shed_refusals);
  WEIR_FIELD(ResourceRule, throttle_share);
  WEIR_FIELD(ResourceRule, forced_state);
  WEIR_FIELD(ResourceRule, reserved1);
  WEIR_FIELD(ResourceRule, figures_mono_ns);
  WEIR_FIELD(ResourceRule, in_flight);
  WEIR_FIELD(ResourceRule, requests_per_s_milli);
  WEIR_FIELD(ResourceRule, errors_per_s_milli);
  WEIR_FIELD(ResourceRule, response_ns);
  WEIR_FIELD(ResourceRule, shed_permille);
  WEIR_FIELD(ResourceRule, breaker_state);
  WEIR_FIELD(ResourceRule, retry_level);
  WEIR_FIELD(ResourceRule, reaped_total);
  WEIR_FIELD(ResourceRule, expired_total);
  WEIR_FIELD(ResourceRule, forged_total);
  WEIR_FIELD(ResourceRule, reserved2);
  WEIR_FIELD(ResourceRule, config_version);
  WEIR_FIELD(ResourceRule, breaker_window_ns);
  WEIR_FIELD(ResourceRule, breaker_volume_min);
  WEIR_FIELD(ResourceRule, breaker_open_ns);
  WEIR_FIELD(ResourceRule, breaker_open_max_ns);
  WEIR_FIELD(ResourceRule, breaker_probe_ns);
  WEIR_FIELD(ResourceRule, breaker_calm_ns);
  WEIR_FIELD(ResourceRule, breaker_slow_ns);
  WEIR_FIELD(ResourceRule, breaker_failed_permille);
  WEIR_FIELD(ResourceRule, breaker_slow_permille);
  WEIR_FIELD(ResourceRule, breaker_consecutive);
  WEIR_FIELD(ResourceRule, breaker_probes_needed);
  WEIR_FIELD(ResourceRule, breaker_growth_permille);
  WEIR_FIELD(ResourceRule, breaker_jitter_permille);
  WEIR_FIELD(ResourceRule, throttle_k_permille);
  WEIR_FIELD(ResourceRule, retry_share_permille);
  WEIR_FIELD(ResourceRule, retry_ttl_ns);
  WEIR_FIELD(ResourceRule, retry_base_ns);
  WEIR_FIELD(ResourceRule, retry_max_ns);
  WEIR_FIELD(ResourceRule, retry_floor_milli);
  WEIR_FIELD(ResourceRule, retry_attempts_max);
  WEIR_FIELD(ResourceRule, name);
  WEIR_FIELD(ResourceRule, deadline_default_ns);
  WEIR_FIELD(ResourceRule, deadline_max_ns);
  WEIR_FIELD(ResourceRule, reserved3);
  WEIR_STRUCT(FeatureRule);
  WEIR_FIELD(FeatureRule, hot);
  WEIR_FIELD(FeatureRule, degrade);
  WEIR_FIELD(FeatureRule, level_mono_ns);
  WEIR_FIELD(FeatureRule, reserved0);
  WEIR_FIELD(FeatureRule, name);
  WEIR_STRUCT(ResourceCounter);
  WEIR_FIELD(ResourceCounter, in_flight);
  WEIR_FIELD(ResourceCounter, reserved0);
  WEIR_FIELD(ResourceCounter, breaker);
  WEIR_FIELD(ResourceCounter, consecutive);
  WEIR_FIELD(ResourceCounter, reserved1);
  WEIR_FIELD(ResourceCounter, retry_tokens);
  WEIR_FIELD(ResourceCounter, retry_next_mono_ns);
  WEIR_FIELD(ResourceCounter, uncounted_total);
  WEIR_FIELD(ResourceCounter, recount_mono_ns);
  WEIR_FIELD(ResourceCounter, reap_mono_ns);
  WEIR_FIELD(ResourceCounter, name_tag);
  WEIR_FIELD(ResourceCounter, reserved2);
  WEIR_FIELD(ResourceCounter, responses);
  WEIR_FIELD(ResourceCounter, reserved3);
  WEIR_STRUCT(OutcomeLane);
  WEIR_FIELD(OutcomeLane, succeeded);
  WEIR_FIELD(OutcomeLane, succeeded_ns);
  WEIR_FIELD(OutcomeLane, failed);
  WEIR_FIELD(OutcomeLane, failed_ns);
  WEIR_FIELD(OutcomeLane, slow);
  WEIR_FIELD(OutcomeLane, full);
  WEIR_FIELD(OutcomeLane, broken);
  WEIR_FIELD(OutcomeLane, throttled);
  WEIR_FIELD(OutcomeLane, passed);
  WEIR_FIELD(OutcomeLane, refused);
  WEIR_STRUCT(ProcessSlot);
  WEIR_FIELD(ProcessSlot, owner);
  WEIR_FIELD(ProcessSlot, start_ticks);
  WEIR_FIELD(ProcessSlot, pid_namespace);
  WEIR_FIELD(ProcessSlot, claimed_mono_ns);
  WEIR_FIELD(ProcessSlot, reserved);
  WEIR_STRUCT(HolderCell);
  WEIR_FIELD(HolderCell, claim);
  WEIR_FIELD(HolderCell, stripe);
  WEIR_FIELD(HolderCell, reserved);
}

template <class Structs>
void add_quotas(Structs& all) {
  WEIR_STRUCT(QuotaBoard);
  WEIR_FIELD(QuotaBoard, serving);
  WEIR_FIELD(QuotaBoard, usage_full);
  WEIR_FIELD(QuotaBoard, usage_rows);
  WEIR_FIELD(QuotaBoard, usage_rows_max);
  WEIR_FIELD(QuotaBoard, keys);
  WEIR_FIELD(QuotaBoard, reserved0);
  WEIR_STRUCT(QuotaSlot);
  WEIR_FIELD(QuotaSlot, hot);
  WEIR_FIELD(QuotaSlot, hash);
  WEIR_FIELD(QuotaSlot, name_bytes);
  WEIR_FIELD(QuotaSlot, key_bytes);
  WEIR_FIELD(QuotaSlot, name);
  WEIR_FIELD(QuotaSlot, key);
  WEIR_FIELD(QuotaSlot, service);
  WEIR_FIELD(QuotaSlot, reserved1);
  WEIR_FIELD(QuotaSlot, until_mono_ns);
  WEIR_FIELD(QuotaSlot, answers);
  WEIR_FIELD(QuotaSlot, remaining);
  WEIR_FIELD(QuotaSlot, reserved0);
  WEIR_STRUCT(QuotaCounter);
  WEIR_FIELD(QuotaCounter, units);
  WEIR_FIELD(QuotaCounter, reserved0);
  WEIR_FIELD(QuotaCounter, refunded);
  WEIR_FIELD(QuotaCounter, wanted);
  WEIR_FIELD(QuotaCounter, attributed);
  WEIR_FIELD(QuotaCounter, refused_total);
  WEIR_FIELD(QuotaCounter, dropped_total);
  WEIR_FIELD(QuotaCounter, reserved1);
  WEIR_STRUCT(QuotaFrameTail);
  WEIR_FIELD(QuotaFrameTail, amount);
  WEIR_FIELD(QuotaFrameTail, slot);
  WEIR_FIELD(QuotaFrameTail, generation);
  WEIR_FIELD(QuotaFrameTail, name_bytes);
  WEIR_FIELD(QuotaFrameTail, key_bytes);
  WEIR_FIELD(QuotaFrameTail, reason_bytes);
  WEIR_FIELD(QuotaFrameTail, kind);
}

}  // namespace weir::shm
