// What operators, calendars and the silence of hosts do to a key.
#include <algorithm>

#include "lease/quota_book.h"
#include "lease/quota_parts.h"

namespace weir::lease {
namespace {

constexpr std::size_t kForgottenPerEdge = 16;

bool counted(QuotaType type) noexcept { return type != QuotaType::time; }

Units first_total(const QuotaConfig& config) noexcept {
  return counted(config.type) ? config.total : kUnitsMax;
}

std::string check_config(const QuotaConfig& config) {
  if (config.type > QuotaType::hybrid) return "there is no such type of quota";
  if (config.period > QuotaPeriod::month) return "there is no such period";
  if (counted(config.type) && (config.total < 0 || config.total > kUnitsMax))
    return "total must be between 0 and " + std::to_string(kUnitsMax);
  if (config.type != QuotaType::count && config.valid_until_wall_ms <= 0)
    return "a quota of type time or hybrid needs the time until which it is valid";
  if (config.valid_until_wall_ms < 0) return "the time until which it is valid is negative";
  if (config.zone.size() > kQuotaNameBytesMax) return "the name of the time zone is too long";
  return {};
}

QuotaAction action_of(QuotaChangeKind kind) noexcept {
  switch (kind) {
    case QuotaChangeKind::create:
      return QuotaAction::create;
    case QuotaChangeKind::configure:
      return QuotaAction::configure;
    case QuotaChangeKind::top_up:
      return QuotaAction::top_up;
    case QuotaChangeKind::reset:
      return QuotaAction::reset;
    case QuotaChangeKind::suspend:
      return QuotaAction::suspend;
    case QuotaChangeKind::resume:
      return QuotaAction::resume;
    case QuotaChangeKind::remove:
      return QuotaAction::remove;
    case QuotaChangeKind::write_back:
      return QuotaAction::write_back;
  }
  return QuotaAction::configure;
}

}  // namespace

// Chunks of the generation before are void from now on: nothing that comes of them is credited.
void QuotaBook::new_generation(Key& key, Units total, TimeNs now_ns) {
  QuotaRecord& record = key.record;
  if (!mutants.keep_gen) ++record.gen;
  record.total = record.remaining = total;
  record.consumed = record.lost = 0;
  key.count_holders();
  key.short_of = false;
  record.period_end_wall_ms = options_.edge_after && record.config.period != QuotaPeriod::none
                                  ? options_.edge_after(record.config, wall_ms(now_ns))
                                  : 0;
}

void QuotaBook::roll_over(Key& key, Applied& applied, TimeNs now_ns) {
  QuotaRecord& record = key.record;
  if (!key.exists() || record.period_end_wall_ms == 0) return;
  const std::int64_t wall = wall_ms(now_ns);
  if (wall < record.period_end_wall_ms) return;
  const std::string closing =
      "consumed " + std::to_string(record.consumed) + " of " + std::to_string(record.total) +
      ", out " + std::to_string(record.held()) + ", lost " + std::to_string(record.lost);
  new_generation(key, first_total(record.config), now_ns);
  forget_unused(key, applied);
  applied.durable = true;
  applied.events.push_back(
      quota_event(QuotaAction::rollover, {}, record.total, record.remaining, wall, closing));
}

// Agents that had nothing in the generation before either are not those of today.
void QuotaBook::forget_unused(Key& key, Applied& applied) {
  const std::uint64_t gen = key.record.gen;
  std::vector<std::uint64_t> unused;
  for (const Holding& holding : key.holdings)
    if (holding.chunks.empty() && holding.gen + 1 < gen && unused.size() < kForgottenPerEdge)
      unused.push_back(holding.agent_epoch);
  for (const std::uint64_t agent_epoch : unused) {
    key.drop(agent_epoch);
    applied.gone.push_back(agent_epoch);
  }
}

void QuotaBook::apply_change(Key& key, Applied& applied, const QuotaChange& change, TimeNs now_ns) {
  QuotaResult result;
  std::vector<std::uint64_t>& known = key.record.changes;
  const bool repeated = change.change_id != 0 && !mutants.changes_repeat &&
                        std::find(known.begin(), known.end(), change.change_id) != known.end();
  if (repeated) {
    result.outcome = QuotaChangeOutcome::done_before;
  } else {
    result.message = change_record(key, applied, change, result.outcome, now_ns);
  }
  if (result.outcome == QuotaChangeOutcome::done) {
    applied.durable = true;
    if (change.change_id != 0) {
      std::vector<std::uint64_t>& changes = key.record.changes;
      if (changes.size() >= kRecentChangesMax) changes.erase(changes.begin());
      changes.push_back(change.change_id);
    }
  }
  view_into(key, result.view);
  applied.results.push_back(std::move(result));
}

// Says what is wrong; empty with the outcome `done`.
std::string QuotaBook::change_record(Key& key, Applied& applied, const QuotaChange& change,
                                     QuotaChangeOutcome& outcome, TimeNs now_ns) {
  QuotaRecord& record = key.record;
  outcome = QuotaChangeOutcome::bad;
  Units amount = 0;
  std::string why;
  if (change.kind == QuotaChangeKind::create) {
    why = create(key, change, outcome, now_ns);
    amount = record.total;
  } else if (!key.exists()) {
    outcome = QuotaChangeOutcome::unknown_key;
    return "there is no such quota";
  } else if (change.kind == QuotaChangeKind::configure) {
    if (change.replaces && *change.replaces != record.config) {
      outcome = QuotaChangeOutcome::outdated;
      return "it was configured anew in between";
    }
    why = configure(key, change, now_ns);
  } else if (change.kind == QuotaChangeKind::top_up) {
    why = top_up(key, change);
    amount = change.amount;
  } else if (change.kind == QuotaChangeKind::reset) {
    if (change.amount < -1 || change.amount > kUnitsMax) why = "the new total is out of range";
    const bool given = change.amount >= 0 && counted(record.config.type);
    if (why.empty())
      new_generation(key, given ? change.amount : first_total(record.config), now_ns);
    amount = record.total;
  } else if (change.kind == QuotaChangeKind::write_back) {
    why = write_back(key, change, amount);
  } else if (change.kind == QuotaChangeKind::remove) {
    record.state = QuotaState::deleted;
    amount = record.remaining;
    new_generation(key, 0, now_ns);
    record.period_end_wall_ms = 0;
  } else {
    record.state =
        change.kind == QuotaChangeKind::suspend ? QuotaState::suspended : QuotaState::active;
  }
  if (!why.empty()) return why;
  outcome = QuotaChangeOutcome::done;
  QuotaEvent event =
      quota_event(action_of(change.kind), change.by, amount, record.remaining, wall_ms(now_ns));
  event.uid = change.uid;
  applied.events.push_back(std::move(event));
  return {};
}

std::string QuotaBook::create(Key& key, const QuotaChange& change, QuotaChangeOutcome& outcome,
                              TimeNs now_ns) {
  QuotaRecord& record = key.record;
  if (key.exists()) {
    outcome = QuotaChangeOutcome::exists;
    return "there is such a quota";
  }
  const auto [name, rest] = split_quota_key(key.name);
  if (std::string why = check_quota_key(name, rest); !why.empty()) return why;
  if (std::string why = check_config(change.config); !why.empty()) return why;
  // Later than every generation that this key may have had, in this store or in a lost one.
  const auto wall = static_cast<std::uint64_t>(std::max<std::int64_t>(0, wall_ms(now_ns)));
  record.gen = std::max(record.gen, wall);
  record.config = change.config;
  record.state = QuotaState::active;
  key.there = true;
  record.changes.clear();
  new_generation(key, first_total(record.config), now_ns);
  key.rate_level = rate_burst(record.config);
  key.rate_ns = now_ns;
  return {};
}

// The total is of the next generation, all else holds at once.
std::string QuotaBook::configure(Key& key, const QuotaChange& change, TimeNs now_ns) {
  QuotaRecord& record = key.record;
  if (std::string why = check_config(change.config); !why.empty()) return why;
  if (counted(change.config.type) != counted(record.config.type))
    return "a quota with a count does not become one without, nor the other way round";
  const bool other_edges =
      change.config.period != record.config.period || change.config.zone != record.config.zone;
  const bool other_rate = change.config.rate_per_min != record.config.rate_per_min;
  record.config = change.config;
  if (other_rate) {
    key.rate_level = 0;
    key.rate_ns = now_ns;
  }
  if (other_edges)
    record.period_end_wall_ms = options_.edge_after && record.config.period != QuotaPeriod::none
                                    ? options_.edge_after(record.config, wall_ms(now_ns))
                                    : 0;
  return {};
}

std::string QuotaBook::top_up(Key& key, const QuotaChange& change) {
  QuotaRecord& record = key.record;
  const std::int64_t until = change.config.valid_until_wall_ms;
  if (counted(record.config.type)) {
    if (change.amount < 0 || (change.amount == 0 && until == 0))
      return "the amount must be positive";
    if (change.amount > kUnitsMax - record.total)
      return "the total would be above " + std::to_string(kUnitsMax);
    record.total += change.amount;
    record.remaining += change.amount;
  } else if (until == 0) {
    return "a quota of type time is topped up by a later time until which it is valid";
  }
  if (until < 0) return "the time until which it is valid is negative";
  if (until != 0) record.config.valid_until_wall_ms = until;
  return {};
}

// A top-up by what was lost with a host, never a reclaim: that host may be alive, and spend it.
std::string QuotaBook::write_back(Key& key, const QuotaChange& change, Units& amount) {
  QuotaRecord& record = key.record;
  Holding* holding = key.find(change.agent_epoch);
  if (holding == nullptr) return "nothing is lost with this agent";
  const auto taken = [&](const Chunk& chunk) {
    return chunk.gen == record.gen && chunk.state == ChunkState::lost &&
           (change.seq == 0 || change.seq == chunk.seq);
  };
  for (const Chunk& chunk : holding->chunks)
    if (taken(chunk)) amount += chunk.unspent();
  if (amount == 0) return "nothing is lost with this agent";
  if (amount > kUnitsMax - record.total)
    return "the total would be above " + std::to_string(kUnitsMax);
  for (Chunk& chunk : holding->chunks)
    if (taken(chunk)) chunk.state = ChunkState::written_back;
  record.remaining += amount;
  if (mutants.write_back_moves)
    record.lost -= amount;
  else
    record.total += amount;
  key.change(*holding);
  return {};
}

void QuotaBook::apply_lost(Key& key, Applied& applied, std::uint64_t agent_epoch, TimeNs since_ns,
                           TimeNs now_ns) {
  Holding* holding = key.find(agent_epoch);
  if (holding == nullptr) return;
  const auto agent = agents_.find(agent_epoch);
  if (agent != agents_.end() && agent->second.said_ns > since_ns) return;  // it is back
  QuotaRecord& record = key.record;
  const bool held = holding->holds(record.gen);
  for (Chunk& chunk : holding->chunks) {
    if (chunk.gen != record.gen || chunk.state != ChunkState::open) continue;
    chunk.state = ChunkState::lost;
    if (mutants.lost_is_free)
      record.remaining += chunk.unspent();
    else
      record.lost += chunk.unspent();
    counts_.lost_units_total += static_cast<std::uint64_t>(chunk.unspent());
    applied.events.push_back(quota_event(QuotaAction::lost, *holding->host, chunk.unspent(),
                                         record.remaining, wall_ms(now_ns),
                                         "silent, chunk " + std::to_string(chunk.seq)));
  }
  if (held) --key.holders;
  // What is known of an agent that may come back after all must stay: the number of its last
  // request while a chunk of it was here, and what it has refunded.
  const bool unused =
      holding->chunks.empty() && (holding->gen != record.gen || holding->refunded == 0);
  std::erase_if(holding->chunks, [&](const Chunk& chunk) { return chunk.gen != record.gen; });
  key.change(*holding);
  applied.durable = true;
  if (unused) {
    applied.gone.push_back(agent_epoch);
    key.drop(agent_epoch);
  }
}

}  // namespace weir::lease
