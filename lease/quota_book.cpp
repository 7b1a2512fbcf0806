// Keys, those who wait for them, and the store.
#include "lease/quota_book.h"

#include <algorithm>

#include "lease/quota_parts.h"

namespace weir::lease {
namespace {

constexpr int kUnloadsPerPoll = 1'000;
constexpr int kFlushesPerPoll = 1'000;
constexpr int kUnloadTries = 8;
constexpr std::uint64_t kAnyVersion = UINT64_MAX;  // of a mutant alone

}  // namespace

void QuotaEffects::clear() {
  loads.clear();
  transactions.clear();
  replies.clear();
  results.clear();
  pokes.clear();
  scans.clear();
}

QuotaBook::QuotaBook(QuotaBookOptions options, TimeNs now_ns)
    : options_(std::move(options)), started_ns_(now_ns) {}
QuotaBook::~QuotaBook() = default;

void QuotaBook::set_wall(std::int64_t wall_ms, TimeNs now_ns) noexcept {
  wall_ms_ = wall_ms;
  wall_at_ns_ = now_ns;
}
std::int64_t QuotaBook::wall_ms(TimeNs now_ns) const noexcept {
  return wall_ms_ + (now_ns - wall_at_ns_) / kMs;
}

void QuotaBook::take(QuotaEffects& effects) {
  effects.clear();
  std::swap(effects, effects_);
}

// ------------------------------------------------------------------ agents

void QuotaBook::await_agent(std::uint64_t agent_epoch, const std::string& host, TimeNs now_ns) {
  if (agents_.contains(agent_epoch) || agents_.size() >= options_.agents_max) return;
  Agent& agent = agents_[agent_epoch];
  agent.host = std::make_shared<const std::string>(host);
  agent.heard_ns = now_ns;
  agent.place = by_heard_.insert(by_heard_.end(), agent_epoch);
}

void QuotaBook::heard(std::uint64_t agent_epoch, const std::string& host, TimeNs now_ns) {
  await_agent(agent_epoch, host, now_ns);
  const auto found = agents_.find(agent_epoch);
  if (found == agents_.end()) return;
  if (found->second.host->empty()) found->second.host = std::make_shared<const std::string>(host);
  found->second.heard_ns = found->second.said_ns = now_ns;
  by_heard_.splice(by_heard_.end(), by_heard_, found->second.place);
}

std::shared_ptr<const std::string> QuotaBook::host_name(std::uint64_t agent_epoch,
                                                        const std::string& host) {
  const auto found = agents_.find(agent_epoch);
  if (found != agents_.end() && !found->second.host->empty()) return found->second.host;
  return std::make_shared<const std::string>(host);
}

void QuotaBook::poll_agents(TimeNs now_ns) {
  while (!by_heard_.empty() && !mutants.never_lost) {
    const std::uint64_t agent_epoch = by_heard_.front();
    if (agents_.at(agent_epoch).heard_ns + options_.lost_after_ns > now_ns) return;
    by_heard_.pop_front();
    agents_.erase(agent_epoch);
    effects_.scans.push_back({agent_epoch, {}});
  }
}

void QuotaBook::on_scanned(std::uint64_t agent_epoch, const std::vector<std::string>& keys,
                           bool more, TimeNs now_ns) {
  for (const std::string& key : keys)
    enqueue(key, Op{0, Op::Lost{agent_epoch, now_ns - options_.lost_after_ns}}, now_ns);
  if (more && !keys.empty()) effects_.scans.push_back({agent_epoch, keys.back()});
}

// ------------------------------------------------------------------ who waits

void QuotaBook::ask(Ticket ticket, QuotaAsk ask, TimeNs now_ns) {
  ++counts_.asks_total;
  heard(ask.agent_epoch, ask.host, now_ns);
  std::string name = ask.key;
  enqueue(name, Op{ticket, std::move(ask)}, now_ns);
}
void QuotaBook::change(Ticket ticket, QuotaChange change, TimeNs now_ns) {
  std::string name = change.key;
  enqueue(name, Op{ticket, std::move(change)}, now_ns);
}
void QuotaBook::read(Ticket ticket, const std::string& key, TimeNs now_ns) {
  enqueue(key, Op{ticket, Op::Read{}}, now_ns);
}

void QuotaBook::enqueue(const std::string& name, Op op, TimeNs now_ns) {
  if (name.empty() || name.size() > kQuotaKeyBytesMax)
    return refuse(op, name, QuotaChangeOutcome::bad, "the key has a wrong length");
  if (now_ns >= fence_ns_)
    return refuse(op, name, QuotaChangeOutcome::busy, "this server does not own the quotas now");
  Key* key = waiting_ < options_.waiting_max ? key_of(name, now_ns) : nullptr;
  if (key == nullptr) return refuse(op, name, QuotaChangeOutcome::busy, "too many wait");
  ++waiting_;
  key->need_work().queue.push_back(std::move(op));
  touch(*key, now_ns);
  run(*key, now_ns);
}

void QuotaBook::refuse(const Op& op, const std::string& name, QuotaChangeOutcome outcome,
                       const std::string& why) {
  ++counts_.busy_total;
  if (const auto* ask = std::get_if<QuotaAsk>(&op.what)) {
    QuotaReply& reply = effects_.replies.emplace_back();
    reply.ticket = op.ticket;
    reply.key = name;
    reply.agent_epoch = ask->agent_epoch;
    reply.ask_no = ask->ask_no;
    reply.seq = ask->seq;
    reply.outcome = outcome == QuotaChangeOutcome::bad ? QuotaOutcome::bad : QuotaOutcome::busy;
  } else if (const auto* lost = std::get_if<Op::Lost>(&op.what)) {
    // What could not be booked now is tried again after another silence.
    await_agent(lost->agent_epoch, {}, lost->since_ns + options_.lost_after_ns);
  } else {
    QuotaResult& result = effects_.results.emplace_back();
    result.ticket = op.ticket;
    result.outcome = outcome;
    result.message = why;
  }
}

// ------------------------------------------------------------------ keys

QuotaBook::Key* QuotaBook::key_of(const std::string& name, TimeNs now_ns) {
  if (const auto found = keys_.find(name); found != keys_.end()) return found->second.get();
  Key* candidate = oldest_;
  for (int i = 0; i < kUnloadTries && keys_.size() >= options_.keys_max && candidate; ++i) {
    Key* next = candidate->newer;
    if (unloadable(*candidate, now_ns)) unload(*candidate);
    candidate = next;
  }
  if (keys_.size() >= options_.keys_max) return nullptr;
  auto made = std::make_unique<Key>();
  Key* key = made.get();
  key->name = name;
  keys_.emplace(key->name, std::move(made));
  key->older = newest_;
  (newest_ == nullptr ? oldest_ : newest_->newer) = key;
  newest_ = key;
  effects_.loads.push_back(name);
  ++counts_.loads_total;
  return key;
}

void QuotaBook::touch(Key& key, TimeNs now_ns) {
  key.used_ns = now_ns;
  if (newest_ == &key) return;
  (key.older == nullptr ? oldest_ : key.older->newer) = key.newer;
  key.newer->older = key.older;
  key.older = newest_;
  key.newer = nullptr;
  newest_->newer = &key;
  newest_ = &key;
}

// The bucket of a rate is not stored. A key is unloaded when its bucket is full, so that it may be
// taken for full when it is loaded again.
bool QuotaBook::unloadable(const Key& key, TimeNs now_ns) const {
  if (key.phase != Key::Phase::ready || key.work || key.in_dirty) return false;
  const QuotaConfig& config = key.record.config;
  if (config.rate_per_min == 0 || !key.exists()) return true;
  const Micro held = mul_div(key.record.held(), kToken, 1);
  return key.rate_level + held + minted(rate_per_s(config), now_ns - key.rate_ns) >=
         rate_burst(config);
}

void QuotaBook::unload(Key& key) {
  (key.older == nullptr ? oldest_ : key.older->newer) = key.newer;
  (key.newer == nullptr ? newest_ : key.newer->older) = key.older;
  keys_.erase(keys_.find(key.name));
}

void QuotaBook::mark_dirty(Key& key, TimeNs now_ns) {
  if (key.in_dirty) return;
  key.in_dirty = true;
  key.dirty_ns = now_ns;
  dirty_.push_back(&key);
}

void QuotaBook::on_loaded(const std::string& name, std::optional<QuotaLoaded> loaded,
                          TimeNs now_ns) {
  const auto found = keys_.find(name);
  if (found == keys_.end() || found->second->phase != Key::Phase::loading) return;
  Key& key = *found->second;
  key.phase = Key::Phase::ready;
  if (loaded) {
    key.record = std::move(loaded->record);
    key.there = true;
    key.holdings.reserve(loaded->holdings.size());
    for (QuotaHolding& stored : loaded->holdings) {
      Holding& holding = key.holdings.emplace_back();
      holding.agent_epoch = stored.agent_epoch;
      holding.last_seq = stored.last_seq;
      holding.gen = stored.gen;
      holding.consumed = stored.consumed;
      holding.refunded = stored.refunded;
      holding.chunks = std::move(stored.chunks);
      if (holding.holds(key.record.gen)) await_agent(holding.agent_epoch, stored.host, now_ns);
      holding.host = host_name(holding.agent_epoch, stored.host);
    }
    std::sort(key.holdings.begin(), key.holdings.end(),
              [](const Holding& a, const Holding& b) { return a.agent_epoch < b.agent_epoch; });
    key.count_holders();
    // What this server may have granted and forgotten since has refilled; what one before it
    // granted is not known, so at first there is only what was minted since the start.
    key.rate_ns = started_ns_;
    const QuotaRecord& record = key.record;
    if (record.consumed == 0 && record.lost == 0 && key.holdings.empty())
      key.rate_level = rate_burst(record.config);
  }
  run(key, now_ns);
}

void QuotaBook::on_load_failed(const std::string& name, const std::string& why, TimeNs now_ns) {
  (void)now_ns;
  const auto found = keys_.find(name);
  if (found == keys_.end() || found->second->phase != Key::Phase::loading) return;
  Key& key = *found->second;
  ++counts_.failures_total;
  if (key.work) {
    for (const Op& op : key.work->queue)
      refuse(op, name, QuotaChangeOutcome::store_failed, why);
    waiting_ -= key.work->queue.size();
  }
  unload(key);
}

// ------------------------------------------------------------------ changes and the store

void QuotaBook::apply(Key& key, Work& work, const Op& op, TimeNs now_ns) {
  const std::size_t replies = work.applied.replies.size();
  const std::size_t results = work.applied.results.size();
  roll_over(key, work.applied, now_ns);
  if (const auto* ask = std::get_if<QuotaAsk>(&op.what)) {
    apply_ask(key, work.applied, *ask, now_ns);
  } else if (const auto* change = std::get_if<QuotaChange>(&op.what)) {
    apply_change(key, work.applied, *change, now_ns);
  } else if (const auto* lost = std::get_if<Op::Lost>(&op.what)) {
    apply_lost(key, work.applied, lost->agent_epoch, lost->since_ns, now_ns);
  } else {
    QuotaResult& result = work.applied.results.emplace_back();
    result.outcome = key.exists() ? QuotaChangeOutcome::done : QuotaChangeOutcome::unknown_key;
    view_into(key, result.view);
  }
  if (work.applied.replies.size() > replies) work.applied.replies.back().ticket = op.ticket;
  if (work.applied.results.size() > results) work.applied.results.back().ticket = op.ticket;
}

void QuotaBook::run(Key& key, TimeNs now_ns) {
  if (key.phase != Key::Phase::ready || !key.work) return;
  Work& work = *key.work;
  while (!work.queue.empty()) {
    work.flying.push_back(std::move(work.queue.front()));
    work.queue.pop_front();
    apply(key, work, work.flying.back(), now_ns);
    // Usage that was only heard of goes along, so that what is stored balances; it must fit.
    if (key.changed + work.applied.gone.size() >= kHoldingsPerTransaction)
      work.applied.durable = true;
    if (work.applied.durable &&
        (key.changed + work.applied.gone.size() + 1 >= kHoldingsPerTransaction ||
         work.flying.size() >= kHoldingsPerTransaction))
      break;
  }
  if (work.applied.durable) return start_transaction(key, work, now_ns);
  release(key, work);
  key.work.reset();
  if (key.changed > 0) mark_dirty(key, now_ns);
}

void QuotaBook::start_transaction(Key& key, Work& work, TimeNs now_ns) {
  auto made = std::make_shared<QuotaTransaction>();
  made->id = ++transactions_;
  made->key = key.name;
  made->expected_version = mutants.no_expected_version ? kAnyVersion : key.record.version;
  key.record.synced_wall_ms = wall_ms(now_ns);
  made->record = key.record;
  for (Holding& holding : key.holdings) {
    if (!holding.changed) continue;
    holding.changed = false;
    if (mutants.chunk_not_stored) continue;
    made->holdings.push_back({holding.agent_epoch, *holding.host, holding.last_seq, holding.gen,
                              holding.consumed, holding.refunded, holding.chunks});
  }
  key.changed = 0;
  made->holdings_gone = std::move(work.applied.gone);
  // An agent whose holding was dropped may have come back within the same transaction.
  std::erase_if(made->holdings_gone,
                [&](std::uint64_t agent_epoch) { return key.find(agent_epoch) != nullptr; });
  made->events = std::move(work.applied.events);
  key.phase = Key::Phase::writing;
  ++writing_;
  ++counts_.transactions_total;
  if (mutants.answer_early) release(key, work);
  work.transaction = std::move(made);
  effects_.transactions.push_back(work.transaction);
}

// What was decided is now true, whatever happens to this server.
void QuotaBook::release(Key& key, Work& work) {
  for (QuotaReply& reply : work.applied.replies) {
    reply.key = key.name;
    effects_.replies.push_back(std::move(reply));
  }
  for (QuotaResult& result : work.applied.results)
    effects_.results.push_back(std::move(result));
  waiting_ -= work.flying.size();
  work.flying.clear();
  work.applied = Applied{};
}

QuotaBook::Key* QuotaBook::writing(std::uint64_t transaction, const std::string& name) {
  const auto found = keys_.find(name);
  if (found == keys_.end()) return nullptr;
  Key& key = *found->second;
  if (key.phase != Key::Phase::writing || key.work->transaction->id != transaction) return nullptr;
  return &key;
}

void QuotaBook::on_durable(std::uint64_t transaction, const std::string& name,
                           std::uint64_t version, TimeNs now_ns) {
  Key* key = writing(transaction, name);
  if (key == nullptr) return;
  --writing_;
  key->record.version = version;
  key->phase = Key::Phase::ready;
  key->work->transaction.reset();
  release(*key, *key->work);
  run(*key, now_ns);
}

// What is in memory is not what is stored: it is read anew, and what waits is decided on that.
void QuotaBook::reload(Key& key) {
  key.record = QuotaRecord{};
  key.there = false;
  key.holdings.clear();
  key.holdings.shrink_to_fit();
  key.holders = key.changed = 0;
  key.rate_level = 0;
  key.phase = Key::Phase::loading;
  key.work->transaction.reset();
  key.work->applied = Applied{};
  effects_.loads.push_back(key.name);
  ++counts_.loads_total;
}

void QuotaBook::on_conflict(std::uint64_t transaction, const std::string& name, TimeNs now_ns) {
  (void)now_ns;
  Key* key = writing(transaction, name);
  if (key == nullptr) return;
  --writing_;
  ++counts_.conflicts_total;
  Work& work = *key->work;
  work.queue.insert(work.queue.begin(), std::make_move_iterator(work.flying.begin()),
                    std::make_move_iterator(work.flying.end()));
  work.flying.clear();
  reload(*key);
}

void QuotaBook::on_failed(std::uint64_t transaction, const std::string& name,
                          const std::string& why, TimeNs now_ns) {
  (void)now_ns;
  Key* key = writing(transaction, name);
  if (key == nullptr) return;
  --writing_;
  ++counts_.failures_total;
  Work& work = *key->work;
  for (const Op& op : work.flying)
    refuse(op, name, QuotaChangeOutcome::store_failed, why);
  waiting_ -= work.flying.size();
  work.flying.clear();
  reload(*key);
}

void QuotaBook::on_unknown(std::uint64_t transaction, const std::string& name, TimeNs now_ns) {
  Key* key = writing(transaction, name);
  if (key == nullptr) return;
  if (mutants.unknown_is_durable)
    return on_durable(transaction, name, key->record.version + 1, now_ns);
  frozen_.emplace_back(now_ns + options_.retry_ns, name);
}

// ------------------------------------------------------------------ time

void QuotaBook::poll(TimeNs now_ns) {
  std::erase_if(frozen_, [&](const auto& frozen) {
    if (frozen.first > now_ns) return false;
    const auto found = keys_.find(frozen.second);
    if (found != keys_.end() && found->second->phase == Key::Phase::writing)
      effects_.transactions.push_back(found->second->work->transaction);
    return true;
  });
  for (int i = 0; i < kFlushesPerPoll && !dirty_.empty(); ++i) {
    Key& key = *dirty_.front();
    if (key.dirty_ns + options_.flush_ns > now_ns) break;
    dirty_.pop_front();
    key.in_dirty = false;
    if (key.phase == Key::Phase::ready && key.changed > 0)
      start_transaction(key, key.need_work(), now_ns);
  }
  poll_agents(now_ns);
  for (int i = 0; i < kUnloadsPerPoll && oldest_ != nullptr; ++i) {
    Key& key = *oldest_;
    if (key.used_ns + options_.idle_ns > now_ns) break;
    if (unloadable(key, now_ns))
      unload(key);
    else
      touch(key, now_ns);
  }
}

QuotaBookStats QuotaBook::stats() const noexcept {
  QuotaBookStats stats = counts_;
  stats.keys = keys_.size();
  stats.waiting = waiting_;
  stats.agents = agents_.size();
  stats.dirty = dirty_.size();
  stats.writing = writing_;
  return stats;
}

std::optional<QuotaView> QuotaBook::view(const std::string& name) const {
  const auto found = keys_.find(name);
  if (found == keys_.end() || found->second->phase == Key::Phase::loading) return std::nullopt;
  QuotaView view;
  view_into(*found->second, view);
  return view;
}

void QuotaBook::view_into(const Key& key, QuotaView& view) const {
  view.found = key.exists();
  view.record = key.record;
  for (const Holding& holding : key.holdings)
    view.holdings.push_back({holding.agent_epoch, *holding.host, holding.last_seq, holding.gen,
                             holding.consumed, holding.refunded, holding.chunks});
}

}  // namespace weir::lease
