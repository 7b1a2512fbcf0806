// Between what the quotas' desks and books say and what travels, for both ends; as wire.h is for
// leases. Whoever links weir::server_wire gets nothing of the server.
#pragma once

#include <vector>

#include "lease/quota.h"
#include "weir/v1/lease.pb.h"

namespace weir::server {

// Appends rows. The session, and the epoch of replies, are the caller's to set. A key that is no
// quota_key() travels with an empty half, which the other end refuses.
void add_to_wire(const lease::QuotaAsk& ask, v1::QuotaAsks& message);
void add_to_wire(const lease::QuotaReply& reply, v1::QuotaReplies& message);
void add_to_wire(const lease::QuotaPoke& poke, v1::QuotaPokes& message);
void add_to_wire(const std::string& key, const lease::QuotaEvent& event, v1::QuotaUsage& message);

// In place of what is in `asks`. Who asks, agent_epoch and host, is not in the message: the caller
// fills it in from the session. False when the tables are crooked; then the result means nothing.
[[nodiscard]] bool from_wire(const v1::QuotaAsks& message, std::vector<lease::QuotaAsk>& asks);
[[nodiscard]] bool from_wire(const v1::QuotaReplies& message,
                             std::vector<lease::QuotaReply>& replies);
[[nodiscard]] bool from_wire(const v1::QuotaPokes& message, std::vector<lease::QuotaPoke>& pokes);

struct QuotaUsageRow {
  std::string key;  // as quota_key() joins it
  lease::QuotaEvent event;
};
[[nodiscard]] bool from_wire(const v1::QuotaUsage& message, std::vector<QuotaUsageRow>& rows);

}  // namespace weir::server
