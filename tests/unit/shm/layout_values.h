// The constants and values of the shared bytes as the compiler sees them, for layout_doc_test.cpp.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "shm/book.h"
#include "shm/bucket.h"
#include "shm/frame.h"
#include "shm/layout.h"
#include "shm/office.h"
#include "shm/quota_frame.h"
#include "shm/toolkit.h"

namespace weir::shm {

inline std::map<std::string, std::uint64_t> compiled_constants() {
#define WEIR_CONSTANT(name) \
  { #name, static_cast < std::uint64_t>(name) }
  return {WEIR_CONSTANT(kRulesMagic),      WEIR_CONSTANT(kCountersMagic),
          WEIR_CONSTANT(kMajor),           WEIR_CONSTANT(kMinor),
          WEIR_CONSTANT(kLineBytes),       WEIR_CONSTANT(kPageBytes),
          WEIR_CONSTANT(kLimitsMax),       WEIR_CONSTANT(kCpusMax),
          WEIR_CONSTANT(kStripeSetsMax),   WEIR_CONSTANT(kWaitersMax),
          WEIR_CONSTANT(kNameBytesMax),    WEIR_CONSTANT(kClasses),
          WEIR_CONSTANT(kBurstMax),        WEIR_CONSTANT(kCpuAbsent),
          WEIR_CONSTANT(kHotActive),       WEIR_CONSTANT(kHotStriped),
          WEIR_CONSTANT(kHotReserve),      WEIR_CONSTANT(kGateLevelMax),
          WEIR_CONSTANT(kAgentHolder),     WEIR_CONSTANT(kHolderMax),
          WEIR_CONSTANT(kOfficeTermMaxNs), WEIR_CONSTANT(kBookUnitShift),
          WEIR_CONSTANT(kTokenBits),       WEIR_CONSTANT(kTokenMask),
          WEIR_CONSTANT(kTokenBias),       WEIR_CONSTANT(kMintUnit),
          WEIR_CONSTANT(kBookUnitNs),      WEIR_CONSTANT(kBookTimeMask),
          WEIR_CONSTANT(kBookAheadUnits),  WEIR_CONSTANT(kLevelMantissaBits),
          WEIR_CONSTANT(kLevelMax),        WEIR_CONSTANT(kFrameMagic),
          WEIR_CONSTANT(kFrameBytes),      WEIR_CONSTANT(kLaneSetsMax),
          WEIR_CONSTANT(kLaneSets),        WEIR_CONSTANT(kLaneRefused),
          WEIR_CONSTANT(kLaneRetried),     WEIR_CONSTANT(kLaneExtra),
          WEIR_CONSTANT(kResourcesMax),    WEIR_CONSTANT(kFeaturesMax),
          WEIR_CONSTANT(kProcessesMax),    WEIR_CONSTANT(kHoldersMax),
          WEIR_CONSTANT(kPermitsMax),      WEIR_CONSTANT(kToolActive),
          WEIR_CONSTANT(kToolConcurrency), WEIR_CONSTANT(kToolShed),
          WEIR_CONSTANT(kToolBreaker),     WEIR_CONSTANT(kToolThrottle),
          WEIR_CONSTANT(kToolRetry),       WEIR_CONSTANT(kQuotaKeysMax),
          WEIR_CONSTANT(kQuotaEvents),     WEIR_CONSTANT(kQuotaProbes),
          WEIR_CONSTANT(kQuotaNameMax),    WEIR_CONSTANT(kQuotaKeyMax),
          WEIR_CONSTANT(kQuotaReasonMax),  WEIR_CONSTANT(kQuotaActive),
          WEIR_CONSTANT(kQuotaUnitBits),   WEIR_CONSTANT(kQuotaUnitMask),
          WEIR_CONSTANT(kQuotaCellGone),   WEIR_CONSTANT(kQuotaAttemptsMax),
          WEIR_CONSTANT(kQuotaStepsMax),   WEIR_CONSTANT(kQuotaPacketMax),
          WEIR_CONSTANT(kQuotaMixFirst),   WEIR_CONSTANT(kQuotaMixSecond),
          WEIR_CONSTANT(kResponseCells),   WEIR_CONSTANT(kResponseShortNs),
          WEIR_CONSTANT(kResponseSampled)};
}

inline std::map<std::string, std::uint64_t> compiled_values() {
#define WEIR_VALUE(type, name) \
  { #type "::" #name, static_cast < std::uint64_t>(type::name) }
  return {WEIR_VALUE(Algorithm, none),
          WEIR_VALUE(Algorithm, token_bucket),
          WEIR_VALUE(Algorithm, leaky_bucket),
          WEIR_VALUE(Algorithm, fixed_window),
          WEIR_VALUE(Algorithm, sliding_window),
          WEIR_VALUE(Fallback, local),
          WEIR_VALUE(Fallback, open),
          WEIR_VALUE(Fallback, closed),
          WEIR_VALUE(SlotState, empty),
          WEIR_VALUE(SlotState, active),
          WEIR_VALUE(SlotState, tombstone),
          WEIR_VALUE(WaiterState, free),
          WEIR_VALUE(WaiterState, waiting),
          WEIR_VALUE(WaiterState, granted),
          WEIR_VALUE(WaiterState, cancelled),
          WEIR_VALUE(FrameType, hello),
          WEIR_VALUE(FrameType, welcome),
          WEIR_VALUE(FrameType, refuse),
          WEIR_VALUE(FrameType, doorbell),
          WEIR_VALUE(FrameType, wait),
          WEIR_VALUE(FrameType, hold),
          WEIR_VALUE(FrameType, quota_ask),
          WEIR_VALUE(FrameType, quota_report),
          WEIR_VALUE(QuotaReportKind, consume),
          WEIR_VALUE(QuotaReportKind, refund),
          WEIR_VALUE(QuotaReportKind, refund_late),
          WEIR_VALUE(QuotaService, none),
          WEIR_VALUE(QuotaService, ok),
          WEIR_VALUE(QuotaService, exhausted),
          WEIR_VALUE(QuotaService, rate_limited),
          WEIR_VALUE(QuotaService, suspended),
          WEIR_VALUE(QuotaService, expired),
          WEIR_VALUE(QuotaService, unknown_key),
          WEIR_VALUE(QuotaService, unreachable),
          WEIR_VALUE(ProcessState, free),
          WEIR_VALUE(ProcessState, claiming),
          WEIR_VALUE(ProcessState, live),
          WEIR_VALUE(ProcessState, reaping),
          WEIR_VALUE(Refusal, none),
          WEIR_VALUE(Refusal, not_allowed),
          WEIR_VALUE(Refusal, too_many),
          WEIR_VALUE(Refusal, busy),
          WEIR_VALUE(Refusal, version),
          WEIR_VALUE(Refusal, malformed)};
}

}  // namespace weir::shm
