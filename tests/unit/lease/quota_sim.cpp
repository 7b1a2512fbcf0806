#include "tests/unit/lease/quota_sim.h"

#include <algorithm>

namespace weir::lease::test {
namespace {

constexpr TimeNs kTick = 10 * kMs;
constexpr TimeNs kTtl = 3 * kSecond;
constexpr TimeNs kLostAfter = 6 * kSecond;
constexpr TimeNs kPeriod = 11 * kSecond;
constexpr std::uint64_t kAnyVersion = UINT64_MAX;

std::int64_t wall_of(TimeNs now_ns) { return now_ns / kMs; }

}  // namespace

Units QuotaSim::Word::level() const {
  Units sum = 0;
  for (const Part& part : parts)
    sum += part.units;
  return sum;
}

QuotaSim::QuotaSim(const SimOptions& options) : options_(options), random_(options.seed) {
  for (std::size_t i = 0; i < options_.hosts; ++i) {
    hosts_.push_back(std::make_unique<Host>());
    Host& host = *hosts_.back();
    host.name = "h" + std::to_string(i);
    host.agent_epoch = random_.next() | 1;
    host.words.resize(options_.keys);
    for (std::size_t key = 0; key < options_.keys; ++key) {
      host.words[key].key = quota_key("calls", "k" + std::to_string(key));
      host.thirst.push_back(static_cast<int>(random_.between(0, 60)));
    }
  }
}

void QuotaSim::wrong(const std::string& what) {
  if (wrong_.empty())
    wrong_ = "seed " + std::to_string(options_.seed) + ", " +
             std::to_string((now_ns_ - 1000 * kSecond) / kMs) + " ms: " + what;
}

void QuotaSim::at(TimeNs when_ns, Event event) { events_.emplace(when_ns, std::move(event)); }

// A message on its way: lost, late, or heard twice.
void QuotaSim::send(Host& host, Event event) {
  if (host.cut_until_ns > now_ns_) return;
  const auto delay = [&] {
    const bool slow = !calm_ && random_.between(0, 999) < options_.slow;
    return random_.between(kMs / 5, slow ? 900 * kMs : 8 * kMs);
  };
  if (!calm_ && random_.between(0, 999) < options_.loss) return;
  if (!calm_ && random_.between(0, 999) < options_.twice) at(now_ns_ + delay(), event);
  at(now_ns_ + delay(), std::move(event));
}

// ------------------------------------------------------------------ the server and its store

void QuotaSim::start_server() {
  QuotaBookOptions options;
  options.chunk_ttl_ns = kTtl;
  options.lost_after_ns = kLostAfter;
  options.flush_ns = 300 * kMs;
  options.idle_ns = 2 * kSecond;
  options.edge_after = [](const QuotaConfig&, std::int64_t wall_ms) {
    return (wall_ms / (kPeriod / kMs) + 1) * (kPeriod / kMs);
  };
  book_ = std::make_unique<QuotaBook>(options, now_ns_);
  book_->mutants = options_.book;
  book_->set_wall(wall_of(now_ns_), now_ns_);
  ++life_;
  std::set<std::uint64_t> agents;
  for (const auto& [key, loaded] : stored_)
    for (const QuotaHolding& holding : loaded.holdings)
      if (agents.insert(holding.agent_epoch).second)
        book_->await_agent(holding.agent_epoch, holding.host, now_ns_);
}

void QuotaSim::crash_server() {
  book_.reset();
  ++totals_.crashes;
  server_down_ns_ = now_ns_ + random_.between(50 * kMs, kSecond);
}

void QuotaSim::serve() {
  QuotaEffects effects;
  book_->poll(now_ns_);
  for (int round = 0; round < 20 && book_; ++round) {
    book_->take(effects);
    for (const std::string& key : effects.loads)
      at(now_ns_ + random_.between(0, 2 * kMs), [this, key, life = life_] {
        if (!book_ || life != life_) return;
        const auto found = stored_.find(key);
        std::optional<QuotaLoaded> loaded;
        if (found != stored_.end()) loaded = found->second;
        book_->on_loaded(key, loaded, now_ns_);
      });
    for (const auto& transaction : effects.transactions)
      submit(transaction);
    for (const QuotaReply& reply : effects.replies)
      for (auto& host : hosts_)
        if (host->agent_epoch == reply.agent_epoch)
          send(*host, [this, to = host.get(), reply] {
            if (to->desk) to->desk->on_reply(reply, now_ns_);
          });
    for (const QuotaPoke& poke : effects.pokes)
      for (auto& host : hosts_)
        if (host->agent_epoch == poke.agent_epoch)
          send(*host, [this, to = host.get(), poke] {
            if (to->desk) to->desk->on_poke(poke, now_ns_);
          });
    for (const QuotaScan& scan : effects.scans) {
      std::vector<std::string> keys;
      for (const auto& [key, loaded] : stored_)
        for (const QuotaHolding& holding : loaded.holdings)
          if (holding.agent_epoch == scan.agent_epoch && key > scan.after) keys.push_back(key);
      book_->on_scanned(scan.agent_epoch, keys, false, now_ns_);
    }
    if (effects.loads.empty() && effects.transactions.empty() && effects.scans.empty()) break;
  }
}

void QuotaSim::submit(std::shared_ptr<const QuotaTransaction> transaction) {
  const bool trouble = !calm_ && random_.between(0, 999) < options_.store_trouble;
  const int kind = trouble ? static_cast<int>(random_.between(0, 3)) : 0;
  const TimeNs first_ns = now_ns_ + random_.between(kMs / 2, 5 * kMs);
  const TimeNs late_ns = first_ns + random_.between(0, 600 * kMs);
  const auto tell = [this, transaction, life = life_](bool stored, std::uint64_t version) {
    if (!book_ || life != life_) return;
    if (stored)
      book_->on_durable(transaction->id, transaction->key, version, now_ns_);
    else
      book_->on_conflict(transaction->id, transaction->key, now_ns_);
  };
  const auto unknown = [this, transaction, life = life_] {
    if (book_ && life == life_) book_->on_unknown(transaction->id, transaction->key, now_ns_);
  };
  if (kind == 0) {  // stored, and said so
    at(first_ns, [this, transaction, tell] {
      std::uint64_t version = 0;
      const bool stored = land(*transaction, version);
      tell(stored, version);
    });
  } else if (kind == 1) {  // surely not stored
    at(first_ns, [this, transaction, life = life_] {
      if (book_ && life == life_)
        book_->on_failed(transaction->id, transaction->key, "no space", now_ns_);
    });
  } else {  // nobody knows: it lands now, later, or never
    at(first_ns, unknown);
    if (kind == 2)
      at(random_.between(0, 1) == 0 ? first_ns : late_ns, [this, transaction] {
        std::uint64_t version = 0;
        land(*transaction, version);
      });
  }
}

bool QuotaSim::land(const QuotaTransaction& transaction, std::uint64_t& version) {
  auto found = stored_.find(transaction.key);
  const std::uint64_t there = found == stored_.end() ? 0 : found->second.record.version;
  const bool any = transaction.expected_version == kAnyVersion;
  if (!any && there != transaction.expected_version) {
    ++totals_.conflicts;
    return false;
  }
  QuotaLoaded& loaded = stored_[transaction.key];
  note_generation(transaction.key, loaded.record, transaction.record);
  loaded.record = transaction.record;
  loaded.record.version = version = ++versions_;
  for (const QuotaHolding& holding : transaction.holdings) {
    std::erase_if(loaded.holdings,
                  [&](const QuotaHolding& old) { return old.agent_epoch == holding.agent_epoch; });
    loaded.holdings.push_back(holding);
  }
  for (const std::uint64_t gone : transaction.holdings_gone)
    std::erase_if(loaded.holdings,
                  [&](const QuotaHolding& old) { return old.agent_epoch == gone; });
  for (const QuotaEvent& event : transaction.events) {
    if (event.action == QuotaAction::grant) ++totals_.grants;
    if (event.action == QuotaAction::lost) ++totals_.lost_events;
    if (event.action == QuotaAction::late_return) ++totals_.late_returns;
    if (event.action == QuotaAction::write_back) ++totals_.write_backs;
  }
  check_record(transaction.key, loaded);
  return true;
}

void QuotaSim::note_generation(const std::string& key, const QuotaRecord& before,
                               const QuotaRecord& after) {
  if (before.version == 0 || before.gen == after.gen) return;
  ++totals_.generations;
  const bool edge = before.period_end_wall_ms != 0 && before.period_end_wall_ms <= wall_of(now_ns_);
  // A host hears of a reset in its next answer, or stops when its chunks are not valid any more.
  // It knows of an edge beforehand.
  const TimeNs void_ns = edge ? before.period_end_wall_ms * kMs + kTick : now_ns_ + kTtl + kTick;
  void_ns_.emplace(std::pair{key, before.gen}, void_ns);
}

void QuotaSim::check_record(const std::string& key, const QuotaLoaded& loaded) {
  const QuotaRecord& record = loaded.record;
  Units held = 0;
  for (const QuotaHolding& holding : loaded.holdings) {
    if (holding.host.empty()) wrong("a holding without the name of its host");
    for (const Chunk& chunk : holding.chunks) {
      if (chunk.gen == record.gen && chunk.state == ChunkState::open) held += chunk.unspent();
      const auto [at, fresh] =
          chunks_ever_.emplace(std::tuple{key, holding.agent_epoch, chunk.seq}, chunk.granted);
      if (at->second != chunk.granted)
        wrong("chunk " + std::to_string(chunk.seq) + " of " + holding.host + " and " + key +
              " was granted twice: " + std::to_string(at->second) + " and " +
              std::to_string(chunk.granted));
    }
  }
  if (record.remaining < 0 || record.consumed < 0 || record.lost < 0)
    wrong("a negative figure in the books of " + key);
  if (record.total != record.remaining + record.consumed + record.lost + held)
    wrong("the books of " + key + " do not balance: total " + std::to_string(record.total) +
          ", remaining " + std::to_string(record.remaining) + ", consumed " +
          std::to_string(record.consumed) + ", lost " + std::to_string(record.lost) + ", held " +
          std::to_string(held));
  Units& total = totals_of_[{key, record.gen}];
  total = std::max(total, record.total);
}

// ------------------------------------------------------------------ hosts

void QuotaSim::start_agent(Host& host) {
  QuotaDeskOptions options;
  options.host = host.name;
  options.agent_epoch = host.agent_epoch;
  options.seed = random_.next();
  options.idle_ns = 2 * kSecond;
  options.give_up_ns = 4 * kSecond;
  host.desk = std::make_unique<QuotaDesk>(options);
  host.desk->mutants = options_.desk;
  for (std::uint32_t slot = 0; slot < host.words.size(); ++slot) {
    Word& word = host.words[slot];
    word.refunded = 0;
    const auto kept = host.kept.find(slot);
    if (kept == host.kept.end())
      host.desk->add_key(slot, word.key, now_ns_);
    else
      host.desk->restore_key(slot, kept->second, word.level(), now_ns_);
  }
  put_in_force(host);
}

void QuotaSim::put_in_force(Host& host) {
  for (int round = 0; round < 4; ++round) {
    const std::vector<QuotaOrder> orders = host.desk->take_orders();
    if (orders.empty()) return;
    for (const QuotaOrder& order : orders) {
      if (order.keep && !order.gone) host.kept[order.slot] = host.desk->kept(order.slot);
      if (order.add > 0) add(host, order.slot, order.add);
      if (order.drain) {
        Word& word = host.words[order.slot];
        const Units taken = word.level();
        word.parts.clear();
        host.desk->drained(order.slot, taken, now_ns_);
        host.kept[order.slot] = host.desk->kept(order.slot);
      }
    }
  }
}

void QuotaSim::add(Host& host, std::uint32_t slot, Units units) {
  Word& word = host.words[slot];
  Units sum = 0;
  for (const QuotaKept::Mine& mine : host.desk->kept(slot).chunks) {
    const std::tuple id{word.key, host.agent_epoch, mine.seq};
    if (!mine.added || mine.returned || !added_ever_.insert(id).second) continue;
    const auto stored = chunks_ever_.find(id);
    if (stored == chunks_ever_.end())
      wrong("a chunk is in use that was never stored");
    else if (stored->second != mine.granted)
      wrong("a chunk is in use with another size than is stored");
    word.parts.push_back({mine.seq, mine.gen, mine.granted});
    sum += mine.granted;
  }
  if (sum != units) {
    wrong("units are added that belong to no new chunk");
    word.parts.push_back({0, host.desk->kept(slot).refund_gen, units - sum});
  }
}

void QuotaSim::spend(Host& host, std::size_t key, Units units) {
  Word& word = host.words[key];
  if (word.level() < units) {
    word.need = units;
    return;
  }
  word.need = 0;
  while (units > 0) {
    Word::Part& part = word.parts.front();
    const Units some = std::min(units, part.units);
    part.units -= some;
    units -= some;
    totals_.handed += some;
    Units& handed = handed_[{word.key, part.gen}];
    handed += some;
    word.spent_of_gen[part.gen] += some;
    if (handed > totals_of_[{word.key, part.gen}])
      wrong("more was handed out of " + word.key + " than its total: " + std::to_string(handed));
    const auto ended = void_ns_.find({word.key, part.gen});
    if (ended != void_ns_.end() && now_ns_ > ended->second && host.desk)
      wrong("a chunk of an ended generation is spent");
    if (part.units == 0) word.parts.pop_front();
  }
  // Some work is not done after all. It counts in the generation in force.
  if (!options_.refunds || !host.desk || random_.between(0, 9) != 0) return;
  const std::uint64_t gen = host.desk->kept(static_cast<std::uint32_t>(key)).refund_gen;
  if (word.refunded_of_gen[gen] >= word.spent_of_gen[gen]) return;
  ++word.refunded_of_gen[gen];
  ++word.refunded;
  ++totals_.refunded;
  --handed_[{word.key, gen}];
}

void QuotaSim::talk(Host& host) {
  std::vector<QuotaAsk> asks;
  host.desk->next_asks(now_ns_, 100, asks);
  put_in_force(host);
  for (const QuotaAsk& ask : asks)
    send(host, [this, ask, from = &host] {
      if (book_ && from->cut_until_ns <= now_ns_) book_->ask(++tickets_, ask, now_ns_);
    });
}

void QuotaSim::step_host(Host& host) {
  if (!host.desk && now_ns_ >= host.down_until_ns) start_agent(host);
  if (host.desk) {
    host.desk->withdraw(now_ns_);
    put_in_force(host);
  }
  for (std::size_t key = 0; key < options_.keys && !dry_; ++key) {
    // Now and then others become thirsty.
    if (random_.between(0, 299) == 0) host.thirst[key] = static_cast<int>(random_.between(0, 90));
    if (random_.between(0, 99) < host.thirst[key])
      spend(host, key, random_.between(0, 9) == 0 ? random_.between(2, 6) : 1);
  }
  if (!host.desk) return;
  for (std::uint32_t slot = 0; slot < host.words.size(); ++slot) {
    Word& word = host.words[slot];
    host.desk->observe(slot, {word.level(), dry_ ? 0 : word.need, word.refunded}, now_ns_);
    word.need = 0;
  }
  put_in_force(host);
  talk(host);
}

// ------------------------------------------------------------------ operators and trouble

void QuotaSim::operate() {
  QuotaChange change;
  if (!retried_.empty() && random_.between(0, 2) == 0) {
    // Somebody who got no answer tries again, with the same id.
    change = retried_.back();
    retried_.pop_back();
  } else {
    change.key = hosts_[0]
                     ->words[static_cast<std::size_t>(
                         random_.between(0, static_cast<std::int64_t>(options_.keys) - 1))]
                     .key;
    change.change_id = ++change_ids_;
    const auto found = stored_.find(change.key);
    const std::int64_t kind = random_.between(0, 9);
    if (kind < 4) {
      change.kind = QuotaChangeKind::top_up;
      change.amount = random_.between(1, 60);
    } else if (kind < 5) {
      change.kind = QuotaChangeKind::reset;
    } else if (kind < 7) {
      change.kind = random_.between(0, 3) == 0 ? QuotaChangeKind::suspend : QuotaChangeKind::resume;
    } else if (found != stored_.end()) {
      change.kind = QuotaChangeKind::write_back;
      for (const QuotaHolding& holding : found->second.holdings)
        for (const Chunk& chunk : holding.chunks)
          if (chunk.state == ChunkState::lost) change.agent_epoch = holding.agent_epoch;
    }
    if (random_.between(0, 1) == 0) retried_.push_back(change);
  }
  book_->change(++tickets_, change, now_ns_);
}

void QuotaSim::trouble() {
  const auto happens = [&](int chance) { return random_.between(0, 999) < chance; };
  if (happens(options_.server_crash) && book_) crash_server();
  for (auto& host : hosts_) {
    if (happens(options_.agent_crash) && host->desk) {
      host->desk.reset();
      host->down_until_ns = now_ns_ + random_.between(50 * kMs, 2 * kSecond);
    }
    if (happens(options_.partition) && host->cut_until_ns <= now_ns_)
      host->cut_until_ns = now_ns_ + random_.between(kSecond, 14 * kSecond);
  }
  if (book_ && happens(options_.operators)) operate();
}

void QuotaSim::step() {
  now_ns_ += kTick;
  while (!events_.empty() && events_.begin()->first <= now_ns_) {
    Event event = std::move(events_.begin()->second);
    events_.erase(events_.begin());
    event();
  }
  if (!book_ && now_ns_ >= server_down_ns_) start_server();
  if (!calm_) trouble();
  if (book_) serve();
  for (auto& host : hosts_)
    step_host(*host);
  if (book_) serve();
}

void QuotaSim::create_keys() {
  for (std::size_t i = 0; i < options_.keys; ++i) {
    QuotaChange change;
    change.kind = QuotaChangeKind::create;
    change.key = hosts_[0]->words[i].key;
    change.config.total = options_.total;
    if (options_.periods && i == 1) change.config.period = QuotaPeriod::day;
    book_->change(++tickets_, change, now_ns_);
  }
}

std::string QuotaSim::run() {
  calm_ = true;
  start_server();
  create_keys();
  for (int i = 0; i < 10; ++i)
    step();
  calm_ = false;
  for (const TimeNs end = now_ns_ + options_.run_ns; now_ns_ < end && wrong_.empty();)
    step();
  finish();
  if (wrong_.empty()) check_end();
  return wrong_;
}

void QuotaSim::finish() {
  calm_ = true;
  for (auto& host : hosts_)
    host->cut_until_ns = host->down_until_ns = 0;
  server_down_ns_ = 0;
  for (int i = 0; i < 300 && wrong_.empty(); ++i)
    step();
  dry_ = true;
  for (int i = 0; i < 100 && wrong_.empty(); ++i)
    step();
  if (!wrong_.empty()) return;
  for (auto& host : hosts_)
    host->desk->leave(now_ns_);
  for (int i = 0; i < 500 && wrong_.empty(); ++i)
    step();
}

// Everything has come back: nothing is held, and what is consumed was really handed out.
void QuotaSim::check_end() {
  for (auto& host : hosts_)
    if (!host->desk->empty()) wrong(host->name + " still has chunks");
  for (const auto& [key, loaded] : stored_) {
    const QuotaRecord& record = loaded.record;
    if (record.held() != 0)
      wrong(std::to_string(record.held()) + " of " + key + " never came back");
    const Units handed = handed_[{key, record.gen}];
    // With no agent killed between a drain and the note of it, the figures are the same.
    if (record.consumed + record.lost < handed)
      wrong(key + ": handed out " + std::to_string(handed) + ", consumed only " +
            std::to_string(record.consumed));
    if (options_.agent_crash == 0 && record.consumed != handed)
      wrong(key + ": handed out " + std::to_string(handed) + ", consumed " +
            std::to_string(record.consumed));
    totals_.consumed += record.consumed;
    totals_.lost += record.lost;
    totals_.remaining += record.remaining;
    totals_.total += record.total;
  }
}

}  // namespace weir::lease::test
