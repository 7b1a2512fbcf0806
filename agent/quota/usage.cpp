#include "agent/quota/usage.h"

#include <algorithm>

#include "server/wire_quota.h"

namespace weir::agent {

UsageQueue::UsageQueue(QuotaLedgerHeader& header, std::uint64_t agent_epoch) : header_(header) {
  // What the agent before had read, the server may or may not have; we cannot know.
  header_.usage_lost +=
      header_.usage_read - std::min(header_.usage_read, header_.usage_taken + header_.usage_lost);
  if (header_.usage_epoch != agent_epoch) new_identity(agent_epoch);
}

void UsageQueue::new_identity(std::uint64_t agent_epoch) {
  header_.usage_batch = 0;
  settle();
  header_.usage_epoch = agent_epoch;
  in_flight_ = 0;
  sent_ns_ = 0;
}

bool UsageQueue::put(const std::string& key, lease::QuotaEvent event, std::int64_t now_ns) {
  ++header_.usage_read;
  if (queue_.size() >= kUsageRowsMax) {
    ++header_.usage_lost;
    return false;
  }
  if (queue_.size() == in_flight_) oldest_ns_ = now_ns;
  queue_.push_back({key, std::move(event)});
  return true;
}

bool UsageQueue::next(std::int64_t now_ns, v1::QuotaUsage& message) {
  if (in_flight_ == 0) {
    const bool due = queue_.size() >= kUsageBatchMax ||
                     (!queue_.empty() && now_ns - oldest_ns_ >= kUsageFlushNs);
    if (!due) return false;
    in_flight_ = std::min(queue_.size(), kUsageBatchMax);
    // No successor may use the number for other rows.
    ++header_.usage_batch;
    settle();
    oldest_ns_ = now_ns;
    sent_ns_ = 0;
  }
  if (sent_ns_ != 0 && now_ns - sent_ns_ < kUsageRetryNs) return false;
  sent_ns_ = now_ns;
  message.Clear();
  message.set_batch_no(header_.usage_batch);
  for (std::size_t i = 0; i < in_flight_; ++i)
    server::add_to_wire(queue_[i].key, queue_[i].event, message);
  return true;
}

void UsageQueue::taken(std::uint64_t batch_no) {
  if (in_flight_ == 0 || batch_no < header_.usage_batch) return;
  header_.usage_taken += in_flight_;
  queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(in_flight_));
  in_flight_ = 0;
  sent_ns_ = 0;
}

}  // namespace weir::agent
