#include "agent/toolkit/response_times.h"

namespace weir::agent {

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr std::int64_t kHalvingsMax = 40;

}  // namespace

void ResponseTimes::clear(shm::ResourceCounter& counter) noexcept {
  for (shm::A32& cell : counter.responses)
    cell.store(0, kRelaxed);
}

void ResponseTimes::look(const shm::ResourceCounter& counter, std::int64_t now_ns,
                         bool busy) noexcept {
  busy_ |= busy;
  if (now_ns < look_ns_) look_ns_ = halve_ns_ = now_ns - kResponseLookNs;  // a clock that jumped
  if (now_ns - look_ns_ < kResponseLookNs) return;
  look_ns_ = now_ns;
  const std::int64_t halvings = (now_ns - halve_ns_) / kResponseHalfLifeNs;
  if (!busy_ && (halvings == 0 || window_.count() == 0)) return;
  if (halvings > kHalvingsMax) {
    window_.clear();
    halve_ns_ = now_ns;
  }
  for (; now_ns - halve_ns_ >= kResponseHalfLifeNs; halve_ns_ += kResponseHalfLifeNs)
    window_.halve();
  if (busy_) {
    for (std::size_t i = 0; i < seen_.size(); ++i) {
      const std::uint32_t now = counter.responses[i].load(kRelaxed);
      if (const std::uint32_t grown = now - seen_[i]; grown != 0)
        window_.add(adaptive::Histogram::upper_edge_ns(i), grown);
      seen_[i] = now;
    }
  }
  busy_ = false;
  quantiles_ = {window_.percentile(0.5), window_.percentile(0.95), window_.percentile(0.99)};
}

}  // namespace weir::agent
