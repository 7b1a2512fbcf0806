// Rows for the audit log, on their way from the processes of this host to the server: a queue with
// a bound, one batch under way, sent again until the server has it on its disk.
//
// A queue that fills says so to the processes, which then wait a little with theirs. What finds no
// room all the same is counted, and so is what an agent that was killed had read and not passed on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>

#include "agent/quota/ledger.h"
#include "lease/quota.h"
#include "weir/v1/lease.pb.h"

namespace weir::agent {

inline constexpr std::size_t kUsageRowsMax = 10'000;
inline constexpr std::size_t kUsageRowsFull = 8'000;  // from here on processes wait
inline constexpr std::size_t kUsageBatchMax = 500;
inline constexpr std::int64_t kUsageFlushNs = 200'000'000;
inline constexpr std::int64_t kUsageRetryNs = 2'000'000'000;

class UsageQueue {
 public:
  // `header` outlives this, and an agent after it goes on with its numbers.
  UsageQueue(QuotaLedgerHeader& header, std::uint64_t agent_epoch);

  bool put(const std::string& key, lease::QuotaEvent event, std::int64_t now_ns);
  // Numbers are counted anew for each identity.
  void new_identity(std::uint64_t agent_epoch);
  // Whether there is something to send now; then it is in `message`, but for the session.
  bool next(std::int64_t now_ns, v1::QuotaUsage& message);
  void hurry() { oldest_ns_ = INT64_MIN / 2; }  // nothing waits for company
  void taken(std::uint64_t batch_no);
  void lose_connection() { sent_ns_ = 0; }

  std::size_t rows() const { return queue_.size(); }
  bool full() const { return queue_.size() >= kUsageRowsFull; }
  std::uint64_t lost_total() const { return header_.usage_lost; }
  std::uint64_t taken_total() const { return header_.usage_taken; }

 private:
  struct Row {
    std::string key;
    lease::QuotaEvent event;
  };
  QuotaLedgerHeader& header_;
  std::deque<Row> queue_;  // the first in_flight_ of them are under way
  std::size_t in_flight_ = 0;
  std::int64_t sent_ns_ = 0;
  std::int64_t oldest_ns_ = 0;  // since when something waits to be sent
};

}  // namespace weir::agent
