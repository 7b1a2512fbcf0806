// What is asked of the server, and what its answers mean.
#include <algorithm>

#include "lease/quota_desk.h"

namespace weir::lease {
namespace {

constexpr std::size_t kOrphansMax = 1'000;
// Over every number that a predecessor whose memory was lost may have used.
constexpr std::uint64_t kSeqLeap = 1U << 20;
constexpr TimeNs kExtendLeast = 50 * kMs;

bool contains(const std::vector<std::uint64_t>& seqs, std::uint64_t seq) noexcept {
  return std::find(seqs.begin(), seqs.end(), seq) != seqs.end();
}

QuotaService service_of(QuotaOutcome outcome, QuotaService before) noexcept {
  switch (outcome) {
    case QuotaOutcome::granted:
    case QuotaOutcome::partial:
      return QuotaService::ok;
    case QuotaOutcome::exhausted:
      return QuotaService::exhausted;
    case QuotaOutcome::rate_limited:
      return QuotaService::rate_limited;
    case QuotaOutcome::suspended:
      return QuotaService::suspended;
    case QuotaOutcome::expired:
      return QuotaService::expired;
    case QuotaOutcome::unknown_key:
    case QuotaOutcome::bad:
      return QuotaService::unknown_key;
    case QuotaOutcome::heard:
      return before == QuotaService::unreachable ? QuotaService::ok : before;
    case QuotaOutcome::busy:
    case QuotaOutcome::settled:
      return before;
  }
  return before;
}

}  // namespace

// ------------------------------------------------------------------ asking

bool QuotaDesk::wants_more(const Row& row, TimeNs now_ns) const {
  if (row.leaving || row.draining || row.chunks.size() >= kChunksMax) return false;
  if (now_ns < row.ask_after_ns) return false;
  if (row.need > row.level) return true;
  // Ahead of need: a second's worth should be there.
  return row.per_s > 0 && row.level < row.per_s && row.ever;
}

void QuotaDesk::compose(std::uint32_t slot, TimeNs now_ns, std::vector<QuotaAsk>& asks) {
  Row& row = rows_[slot];
  if (row.pending_seq != 0 && now_ns - row.first_sent_ns > options_.give_up_ns) row.pending_seq = 0;
  if (row.pending_seq == 0 && wants_more(row, now_ns)) {
    row.pending_seq = ++seq_;
    row.first_sent_ns = now_ns;
    row.retry_ns = options_.retry_first_ns;
    // A successor must not use the same number again.
    keep(slot);
  }
  QuotaAsk& ask = asks.emplace_back();
  ask.key = row.key;
  ask.agent_epoch = options_.agent_epoch;
  ask.host = options_.host;
  ask.ask_no = ++asks_;
  std::rotate(row.sent.begin(), row.sent.end() - 1, row.sent.end());
  row.sent[0] = {ask.ask_no, now_ns};
  ask.seq = row.pending_seq;
  ask.done_seq = row.pending_seq != 0 ? row.pending_seq - 1 : seq_;
  ask.need = std::max<Units>(0, row.need - row.level);
  ask.per_s = row.per_s;
  ask.refund_gen = row.gen;
  ask.refunded_total = row.refunded;
  for (const Mine& mine : row.chunks)
    ask.chunks.push_back({mine.seq, mine.gen, mine.granted, mine.spent, mine.returned});
  row.sent_ns = now_ns;
  row.told = true;
  row.retry_at_ns = now_ns + row.retry_ns;
  row.retry_ns =
      std::min(std::max(row.retry_ns, options_.retry_first_ns) * 2, options_.retry_most_ns);
  row.extend_at_ns = kNever;
}

void QuotaDesk::next_asks(TimeNs now_ns, std::size_t asks_max, std::vector<QuotaAsk>& asks) {
  asks.clear();
  while (!orphans_.empty() && asks.size() < asks_max) {
    // A chunk for a key that is not in use any more: by what is not named the server sees it.
    if (!index_.contains(orphans_.back())) {
      QuotaAsk& ask = asks.emplace_back();
      ask.key = orphans_.back();
      ask.agent_epoch = options_.agent_epoch;
      ask.host = options_.host;
      ask.ask_no = ++asks_;
      ask.done_seq = seq_;
    }
    orphans_.pop_back();
  }
  while (!due_.empty() && due_.begin()->first <= now_ns && asks.size() < asks_max) {
    const std::uint32_t slot = due_.begin()->second;
    due_.erase(due_.begin());
    rows_[slot].due_ns = kNever;
    compose(slot, now_ns, asks);
    schedule(slot, now_ns);
  }
}

TimeNs QuotaDesk::next_deadline() const noexcept {
  const TimeNs ask_ns = due_.empty() ? kNever : due_.begin()->first;
  return orphans_.empty() ? std::min(ask_ns, earliest_end_ns_) : 0;
}

// When this key has something to say.
void QuotaDesk::schedule(std::uint32_t slot, TimeNs now_ns) {
  Row& row = rows_[slot];
  if (!row.used) return;
  TimeNs due_ns = row.extend_at_ns;
  const bool returned = std::any_of(row.chunks.begin(), row.chunks.end(),
                                    [](const Mine& mine) { return mine.returned; });
  if (row.pending_seq != 0) due_ns = std::min(due_ns, row.retry_at_ns);
  if (returned) due_ns = std::min(due_ns, std::max(row.retry_at_ns, now_ns));
  if (!row.told) due_ns = std::min(due_ns, row.sent_ns + options_.report_ns);
  if (row.pending_seq == 0) {
    if (wants_more(row, now_ns))
      due_ns = std::min(due_ns, now_ns);
    else if (row.ask_after_ns > now_ns && wants_more(row, row.ask_after_ns))
      due_ns = std::min(due_ns, row.ask_after_ns);
  }
  if (due_ns == row.due_ns) return;
  if (row.due_ns != kNever) due_.erase({row.due_ns, slot});
  row.due_ns = due_ns;
  if (due_ns != kNever) due_.insert({due_ns, slot});
}

// ------------------------------------------------------------------ answers

bool QuotaDesk::holds(const Row& row, std::uint64_t seq) const {
  return std::any_of(row.chunks.begin(), row.chunks.end(),
                     [=](const Mine& mine) { return mine.seq == seq; });
}

void QuotaDesk::on_reply(const QuotaReply& reply, TimeNs now_ns) {
  if (reply.agent_epoch != options_.agent_epoch) return;
  const auto found = index_.find(reply.key);
  const bool grants = reply.granted > 0 && (reply.outcome == QuotaOutcome::granted ||
                                            reply.outcome == QuotaOutcome::partial);
  if (found == index_.end()) {
    if (grants && orphans_.size() < kOrphansMax) orphans_.push_back(reply.key);
    return;
  }
  const std::uint32_t slot = found->second;
  Row& row = rows_[slot];
  const bool awaited = row.pending_seq != 0 && reply.seq == row.pending_seq;
  const auto sent = std::find_if(row.sent.begin(), row.sent.end(), [&](const auto& one) {
    return one.first == reply.ask_no && one.second != 0;
  });
  const bool newest = reply.ask_no > row.heard_no;
  // Of an answer to what was sent long ago we know only that it was sent after the request began.
  TimeNs from_ns = sent != row.sent.end() ? sent->second : row.first_sent_ns;
  if (mutants.valid_from_answer) from_ns = now_ns;
  const bool counts = newest && (sent != row.sent.end() || awaited);
  if (counts) {
    row.heard_no = reply.ask_no;
    row.retry_ns = options_.retry_first_ns;
    row.service = service_of(reply.outcome, row.service);
    row.remaining = reply.remaining;
  }
  forget_closed(slot, reply);
  if (grants && (awaited || (mutants.accept_any && reply.seq != 0))) {
    accept(slot, reply, now_ns);
  } else if (awaited && reply.outcome != QuotaOutcome::busy) {
    refused(row, reply, now_ns);
    keep(slot);
  } else if (grants && !holds(row, reply.seq)) {
    row.told = false;  // the server takes it back when it hears what is here
  }
  if (counts) extend(slot, reply, from_ns, now_ns);
  if (!row.draining) add_waiting(slot, now_ns);
  if (reply.give_back) consider_giving_back(slot, now_ns);
  finish(slot);
  schedule(slot, now_ns);
}

void QuotaDesk::accept(std::uint32_t slot, const QuotaReply& reply, TimeNs now_ns) {
  Row& row = rows_[slot];
  row.pending_seq = 0;
  row.refused_ns = 0;
  row.ask_after_ns = 0;
  row.ever = true;
  row.used_at_ns = now_ns;
  row.chunks.push_back({reply.seq, reply.gen, reply.granted, 0, false, false});
  keep(slot);
}

void QuotaDesk::refused(Row& row, const QuotaReply& reply, TimeNs now_ns) {
  if (reply.outcome == QuotaOutcome::settled) seq_ += kSeqLeap;
  row.pending_seq = 0;
  row.refused_ns =
      std::clamp(row.refused_ns * 2, options_.refused_first_ns, options_.refused_most_ns);
  row.ask_after_ns = now_ns + std::max(row.refused_ns, reply.retry_ms * kMs);
}

// The generation in force, and until when its chunks may be spent.
void QuotaDesk::extend(std::uint32_t slot, const QuotaReply& reply, TimeNs from_ns, TimeNs now_ns) {
  Row& row = rows_[slot];
  if (reply.outcome == QuotaOutcome::busy || reply.outcome == QuotaOutcome::bad) return;
  if (reply.gen < row.gen) return;  // overtaken on the way
  if (reply.gen != row.gen) {
    row.gen = reply.gen;
    row.refunded = 0;
  }
  const TimeNs valid_ns = reply.valid_ms * kMs;
  row.valid_end_ns = from_ns + shortened(valid_ns);
  row.extend_at_ns = from_ns + std::max(valid_ns / 3, kExtendLeast);
  const bool other = std::any_of(row.chunks.begin(), row.chunks.end(), [&](const Mine& mine) {
    return mine.added && !mine.returned && (mine.gen != row.gen || contains(reply.stop, mine.seq));
  });
  if ((other && !mutants.mix_generations) || row.valid_end_ns <= now_ns) drain(slot);
  earliest_end_ns_ = std::min(earliest_end_ns_, row.valid_end_ns);
  const bool holds = std::any_of(row.chunks.begin(), row.chunks.end(),
                                 [](const Mine& mine) { return !mine.returned; });
  if (!holds) row.extend_at_ns = kNever;
}

void QuotaDesk::forget_closed(std::uint32_t slot, const QuotaReply& reply) {
  if (reply.closed.empty()) return;
  Row& row = rows_[slot];
  // What the server does not know any more, though we did not return it, must not be spent.
  const bool unknown = std::any_of(row.chunks.begin(), row.chunks.end(), [&](const Mine& mine) {
    return mine.added && !mine.returned && contains(reply.closed, mine.seq);
  });
  if (unknown) drain(slot);
  const std::size_t before = row.chunks.size();
  std::erase_if(row.chunks, [&](const Mine& mine) {
    return mine.returned && contains(reply.closed, mine.seq);
  });
  if (row.chunks.size() != before) keep(slot);
}

void QuotaDesk::on_poke(const QuotaPoke& poke, TimeNs now_ns) {
  const auto found = index_.find(poke.key);
  if (poke.agent_epoch != options_.agent_epoch) return;
  if (found == index_.end()) {
    if (orphans_.size() < kOrphansMax) orphans_.push_back(poke.key);
    return;
  }
  // The server believes that there is something here. If there is not, it should hear so.
  if (rows_[found->second].chunks.empty()) rows_[found->second].told = false;
  consider_giving_back(found->second, now_ns);
  schedule(found->second, now_ns);
}

}  // namespace weir::lease
