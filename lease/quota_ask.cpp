// What a host's word does to a key: usage, what comes back, and what it may have.
#include <algorithm>

#include "lease/quota_book.h"
#include "lease/quota_parts.h"

namespace weir::lease {
namespace {

constexpr TimeNs kRetryMost = 60 * kSecond;

bool sane(const QuotaAsk& ask) noexcept {
  const auto fits = [](Units value) { return value >= 0 && value <= kUnitsMax; };
  if (!fits(ask.need) || !fits(ask.per_s) || !fits(ask.refunded_total)) return false;
  if (ask.chunks.size() > kChunksMax || ask.agent_epoch == 0 || ask.done_seq == UINT64_MAX)
    return false;
  return std::all_of(ask.chunks.begin(), ask.chunks.end(), [&](const ChunkReport& report) {
    return report.seq != 0 && fits(report.granted) && fits(report.spent);
  });
}

const ChunkReport* named(const QuotaAsk& ask, std::uint64_t seq) noexcept {
  const auto at = std::find_if(ask.chunks.begin(), ask.chunks.end(),
                               [=](const ChunkReport& report) { return report.seq == seq; });
  return at == ask.chunks.end() ? nullptr : &*at;
}

}  // namespace

std::int64_t QuotaBook::valid_ms(const QuotaRecord& record, TimeNs now_ns) const {
  if (record.state != QuotaState::active) return 0;
  std::int64_t valid = options_.chunk_ttl_ns / kMs;
  const std::int64_t wall = wall_ms(now_ns);
  if (record.config.valid_until_wall_ms != 0)
    valid = std::min(valid, record.config.valid_until_wall_ms - wall);
  if (record.period_end_wall_ms != 0 && !mutants.valid_beyond_edge)
    valid = std::min(valid, record.period_end_wall_ms - wall);
  return std::max<std::int64_t>(valid, 0);
}

void QuotaBook::apply_ask(Key& key, Applied& applied, const QuotaAsk& ask, TimeNs now_ns) {
  QuotaReply reply;
  reply.agent_epoch = ask.agent_epoch;
  reply.ask_no = ask.ask_no;
  reply.seq = ask.seq;
  if (!sane(ask)) {
    reply.outcome = QuotaOutcome::bad;
    applied.replies.push_back(std::move(reply));
    return;
  }
  Holding* holding = key.find(ask.agent_epoch);
  const bool held = holding != nullptr && holding->holds(key.record.gen);
  take_reports(key, applied, ask, reply, now_ns);
  holding = key.find(ask.agent_epoch);
  if (holding != nullptr) take_refund(key, *holding, ask);
  decide(key, applied, ask, reply, now_ns);
  holding = key.find(ask.agent_epoch);
  const bool holds = holding != nullptr && holding->holds(key.record.gen);
  if (holds != held) key.holders += holds ? 1U : -1U;
  reply.gen = key.record.gen;
  reply.remaining = key.exists() ? key.record.remaining : 0;
  reply.valid_ms = key.exists() ? valid_ms(key.record, now_ns) : 0;
  reply.give_back = key.short_of && ask.need == 0 && !mutants.no_pokes;
  applied.replies.push_back(std::move(reply));
}

// ------------------------------------------------------------------ usage and returns

void QuotaBook::take_reports(Key& key, Applied& applied, const QuotaAsk& ask, QuotaReply& reply,
                             TimeNs now_ns) {
  for (const ChunkReport& report : ask.chunks) {
    Holding* holding = key.find(ask.agent_epoch);
    Chunk* chunk = holding == nullptr ? nullptr : holding->find(report.seq);
    const std::uint64_t last_seq = holding == nullptr ? 0 : holding->last_seq;
    if (chunk == nullptr && report.seq > last_seq && report.gen == key.record.gen && key.exists() &&
        !report.returned) {
      adopt_forgotten(key, applied, ask, report, now_ns);
      reply.stop.push_back(report.seq);
    } else if (chunk == nullptr) {
      reply.closed.push_back(report.seq);
    } else {
      count_spent(key, *holding, *chunk, report.spent);
      if (report.returned) {
        close_chunk(key, applied, *holding, report.seq, now_ns);
        reply.closed.push_back(report.seq);
      } else if (chunk->gen != key.record.gen || chunk->state != ChunkState::open) {
        reply.stop.push_back(report.seq);
      }
    }
  }
  Holding* holding = key.find(ask.agent_epoch);
  if (holding == nullptr) return;
  // A chunk whose answer the host has given up waiting for: it takes no other answer any more.
  for (std::size_t i = holding->chunks.size(); i-- > 0;) {
    const std::uint64_t seq = holding->chunks[i].seq;
    if (named(ask, seq) != nullptr || mutants.never_reclaim) continue;
    if (seq <= ask.done_seq || mutants.reclaim_unsettled)
      close_chunk(key, applied, *holding, seq, now_ns);
  }
  if (holding->last_seq < ask.done_seq) {
    holding->last_seq = ask.done_seq;
    key.change(*holding);
  }
}

// The total of what was spent, not a difference: a report that comes twice or late says nothing
// new.
void QuotaBook::count_spent(Key& key, Holding& holding, Chunk& chunk, Units spent) {
  if (mutants.add_reports) spent += chunk.spent;
  const Units more = std::clamp<Units>(spent, 0, chunk.granted) - chunk.spent;
  if (more <= 0) return;
  chunk.spent += more;
  key.change(holding);
  QuotaRecord& record = key.record;
  if (chunk.gen != record.gen) return;
  record.consumed += more;
  if (chunk.state != ChunkState::open && !mutants.lost_is_free) record.lost -= more;
  holding.use_gen(record.gen);
  holding.consumed += more;
}

// Nothing of it will be spent any more. What was not spent is credited, once: the chunk is gone.
void QuotaBook::close_chunk(Key& key, Applied& applied, Holding& holding, std::uint64_t seq,
                            TimeNs now_ns) {
  Chunk* chunk = holding.find(seq);
  QuotaRecord& record = key.record;
  const Units unspent = chunk->unspent();
  const bool current = chunk->gen == record.gen || mutants.credit_old_gen;
  const bool free_again = chunk->state == ChunkState::open || chunk->state == ChunkState::lost ||
                          (mutants.write_back_then_credit && record.lost >= unspent);
  if (current && free_again && unspent > 0) {
    const bool late = chunk->state != ChunkState::open;
    record.remaining += unspent;
    if (late) record.lost -= unspent;
    applied.events.push_back(quota_event(late ? QuotaAction::late_return : QuotaAction::give_back,
                                         *holding.host, unspent, record.remaining,
                                         wall_ms(now_ns)));
  } else if (unspent > 0) {
    applied.events.push_back(quota_event(QuotaAction::late_return, *holding.host, 0,
                                         record.remaining, wall_ms(now_ns),
                                         current ? "written back before" : "of an old generation"));
  }
  applied.durable = true;
  key.change(holding);
  if (mutants.keep_returned) {
    chunk->spent = 0;
    return;
  }
  holding.chunks.erase(holding.chunks.begin() + (chunk - holding.chunks.data()));
}

// A host has a chunk that the store does not know: the store went back, as after a disk that lied.
// It is charged again as far as the remainder goes, and the host must return it.
void QuotaBook::adopt_forgotten(Key& key, Applied& applied, const QuotaAsk& ask,
                                const ChunkReport& report, TimeNs now_ns) {
  Holding* holding = key.find(ask.agent_epoch);
  if (holding == nullptr) {
    holding = &*key.holdings.insert(key.lower(ask.agent_epoch), Holding{});
    holding->agent_epoch = ask.agent_epoch;
    holding->host = host_name(ask.agent_epoch, ask.host);
  }
  if (holding->chunks.size() >= kChunksMax) return;
  QuotaRecord& record = key.record;
  const Units charged = std::min(report.granted, record.remaining);
  record.remaining -= charged;
  holding->last_seq = report.seq;
  holding->chunks.push_back({report.seq, record.gen, charged, 0, ChunkState::open});
  count_spent(key, *holding, holding->chunks.back(), report.spent);
  key.change(*holding);
  applied.durable = true;
  ++counts_.forgotten_total;
  applied.events.push_back(quota_event(QuotaAction::forgotten, *holding->host, charged,
                                       record.remaining, wall_ms(now_ns),
                                       "the store had lost this chunk"));
}

void QuotaBook::take_refund(Key& key, Holding& holding, const QuotaAsk& ask) {
  QuotaRecord& record = key.record;
  if (ask.refund_gen != record.gen || holding.gen != record.gen) return;
  Units total = ask.refunded_total;
  if (mutants.refunds_add) total += holding.refunded;
  if (!mutants.refund_anything) total = std::min(total, holding.consumed);
  const Units more = std::min(total - holding.refunded, record.consumed);
  if (more <= 0) return;
  holding.refunded += more;
  record.consumed -= more;
  record.remaining += more;
  key.change(holding);
}

// ------------------------------------------------------------------ chunks

// What of the rate is neither granted nor held fills up with time. Held counts, so that a host
// cannot save chunks up; a host that was silent for longer than a chunk is valid holds nothing.
void QuotaBook::settle_rate(Key& key, TimeNs now_ns) {
  const QuotaConfig& config = key.record.config;
  Units held = 0;
  for (const Holding& holding : key.holdings) {
    if (!holding.holds(key.record.gen)) continue;
    const auto agent = agents_.find(holding.agent_epoch);
    const bool valid = agent != agents_.end() &&
                       agent->second.heard_ns + lengthened(options_.chunk_ttl_ns) > now_ns;
    for (const Chunk& chunk : holding.chunks)
      if (valid && chunk.gen == key.record.gen) held += chunk.unspent();
  }
  const Micro most = std::max<Micro>(0, rate_burst(config) - mul_div(held, kToken, 1));
  const Micro more = minted(rate_per_s(config), now_ns - key.rate_ns);
  key.rate_level = std::min(most, key.rate_level + more);
  key.rate_ns = now_ns;
}

const QuotaTerms* QuotaBook::terms_of(const Key& key) const {
  if (!options_.terms_of) return nullptr;
  return options_.terms_of(split_quota_key(key.name).first);
}

// A key that nobody has made, of a quota that is for whoever comes.
void QuotaBook::make_if_wanted(Key& key, Applied& applied, const QuotaAsk& ask, TimeNs now_ns) {
  const bool deleted = key.there && !key.exists();
  if (ask.seq == 0 || key.exists() || (deleted && !mutants.remake_deleted)) return;
  const QuotaTerms* terms = terms_of(key);
  if (terms == nullptr || !terms->make_keys) return;
  QuotaChange change;
  change.config = terms->config;
  if (terms->valid_ms > 0) change.config.valid_until_wall_ms = wall_ms(now_ns) + terms->valid_ms;
  QuotaChangeOutcome outcome = QuotaChangeOutcome::done;
  if (!create(key, change, outcome, now_ns).empty()) return;
  applied.durable = true;
  applied.events.push_back(quota_event(QuotaAction::create, ask.host, key.record.total,
                                       key.record.remaining, wall_ms(now_ns), "at its first use"));
}

Units QuotaBook::size_for(const Key& key, const QuotaAsk& ask) const {
  const QuotaRecord& record = key.record;
  Units by_demand = std::max<Units>(1, std::min(ask.per_s, kUnitsMax / 2) * 2);
  if (record.config.type == QuotaType::time) by_demand = std::max(by_demand, kTimeChunk);
  const QuotaTerms* terms = mutants.no_chunk_bounds ? nullptr : terms_of(key);
  if (terms != nullptr)
    by_demand =
        std::clamp(by_demand, terms->chunk_min, std::max(terms->chunk_min, terms->chunk_max));
  const auto hosts = static_cast<Units>(key.holders) + 1;
  Units size = std::clamp<Units>(record.remaining / (2 * hosts), 1, by_demand);
  if (record.remaining < hosts) size = 1;
  if (mutants.big_chunks) size = by_demand;
  size = std::max(size, ask.need);
  if (record.config.rate_per_min != 0 && !mutants.no_rate)
    size = std::min(size, key.rate_level / kToken);
  return mutants.overdraw ? size : std::min(size, record.remaining);
}

void QuotaBook::decide(Key& key, Applied& applied, const QuotaAsk& ask, QuotaReply& reply,
                       TimeNs now_ns) {
  reply.outcome = QuotaOutcome::heard;
  make_if_wanted(key, applied, ask, now_ns);
  QuotaRecord& record = key.record;
  if (!key.exists()) {
    reply.outcome = QuotaOutcome::unknown_key;
    return;
  }
  if (record.state == QuotaState::suspended) {
    reply.outcome = QuotaOutcome::suspended;
  } else if (valid_ms(record, now_ns) == 0) {
    reply.outcome = QuotaOutcome::expired;
  }
  if (ask.seq == 0) return;
  Holding* holding = key.find(ask.agent_epoch);
  if (holding != nullptr && ask.seq <= holding->last_seq && !mutants.no_dedup) {
    // The same request gets the same chunk, even where none would be given now.
    const Chunk* chunk = holding->find(ask.seq);
    const bool there = chunk != nullptr && chunk->gen == record.gen &&
                       chunk->state == ChunkState::open && record.state == QuotaState::active;
    reply.outcome = there ? QuotaOutcome::granted : QuotaOutcome::settled;
    reply.granted = there ? chunk->granted : 0;
    return;
  }
  if (reply.outcome != QuotaOutcome::heard) return;
  if (holding != nullptr && holding->chunks.size() >= kChunksMax) {
    reply.outcome = QuotaOutcome::busy;
    return;
  }
  if (record.config.rate_per_min != 0) {
    settle_rate(key, now_ns);
    const Micro rate = rate_per_s(record.config);
    if (key.rate_level < kToken && !mutants.no_rate) {
      reply.outcome = QuotaOutcome::rate_limited;
      reply.retry_ms = std::min(mul_div(kToken - key.rate_level, kSecond, std::max<Micro>(1, rate)),
                                kRetryMost) /
                           kMs +
                       1;
      // Held elsewhere, it cannot be used here: the bucket never fills beyond the burst.
      if (key.holders > 0) poke_holders(key, ask.agent_epoch, now_ns);
      return;
    }
  }
  const Units size = size_for(key, ask);
  if (size <= 0) {
    reply.outcome = QuotaOutcome::exhausted;
    key.short_of = true;
  } else {
    grant(key, applied, ask, reply, size, now_ns);
    key.short_of = record.remaining < static_cast<Units>(key.holders) + 1;
  }
  if (key.short_of) poke_holders(key, ask.agent_epoch, now_ns);
}

void QuotaBook::grant(Key& key, Applied& applied, const QuotaAsk& ask, QuotaReply& reply,
                      Units size, TimeNs now_ns) {
  QuotaRecord& record = key.record;
  Holding* holding = key.find(ask.agent_epoch);
  if (holding == nullptr) {
    holding = &*key.holdings.insert(key.lower(ask.agent_epoch), Holding{});
    holding->agent_epoch = ask.agent_epoch;
    holding->host = host_name(ask.agent_epoch, ask.host);
  }
  holding->use_gen(record.gen);
  holding->last_seq = std::max(holding->last_seq, ask.seq);
  holding->chunks.push_back({ask.seq, record.gen, size, 0, ChunkState::open});
  record.remaining -= size;
  if (record.config.rate_per_min != 0) key.rate_level -= mul_div(size, kToken, 1);
  key.change(*holding);
  applied.durable = true;
  ++counts_.granted_total;
  const bool partial = size < ask.need;
  reply.outcome = partial ? QuotaOutcome::partial : QuotaOutcome::granted;
  reply.granted = size;
  applied.events.push_back(quota_event(QuotaAction::grant, *holding->host, size, record.remaining,
                                       wall_ms(now_ns), partial ? "partial" : "ok"));
}

void QuotaBook::poke_holders(Key& key, std::uint64_t but, TimeNs now_ns) {
  if (mutants.no_pokes || key.poked_ns + options_.poke_gap_ns > now_ns) return;
  const std::size_t count = key.holdings.size();
  int poked = 0;
  for (std::size_t i = 0; i < count && poked < kPokesPerTurn; ++i) {
    key.poke_next = static_cast<std::uint32_t>((key.poke_next + 1) % count);
    const Holding& holding = key.holdings[key.poke_next];
    if (holding.agent_epoch == but || !holding.holds(key.record.gen)) continue;
    effects_.pokes.push_back({holding.agent_epoch, key.name});
    ++poked;
  }
  if (poked > 0) key.poked_ns = now_ns;
}

}  // namespace weir::lease
