#include "server/etcd/quota_store.h"

#include <sys/random.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <limits>
#include <utility>

#include "weir/store/v1/quota.pb.h"

namespace weir::server::etcd {

namespace stored = weir::store::v1;

namespace {

constexpr Client::Ms kDeadline{2'000};
constexpr int kReadTriesMax = 5;  // one for each member
constexpr std::uint32_t kFormat = 1;
constexpr std::int64_t kPageOfKeys = 500;
constexpr std::size_t kIndexedMax = 200'000;
constexpr std::size_t kUnsureMax = 10'000;
constexpr char kAfterKey = '\0';

using Clock = std::chrono::steady_clock;

std::string hex(std::uint64_t number) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(number));
  return text;
}

bool from_hex(std::string_view text, std::uint64_t& number) {
  const auto end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, number, 16);
  return error == std::errc{} && at == end && text.size() == 16;
}

std::string record_key(const std::string& root, const std::string& key) {
  return root + "r/" + key;
}
std::string holdings_of(const std::string& root, const std::string& key) {
  return root + "h/" + key + kAfterKey;
}
std::string index_of(const std::string& root, std::uint64_t agent_epoch) {
  return root + "a/" + hex(agent_epoch) + "/";
}

std::string record_text(const lease::QuotaRecord& record, std::uint64_t writer,
                        std::uint64_t serial) {
  stored::QuotaRecord out;
  out.set_writer(writer);
  out.set_serial(serial);
  out.set_format(kFormat);
  out.set_gen(record.gen);
  out.set_total(record.total);
  out.set_remaining(record.remaining);
  out.set_consumed(record.consumed);
  out.set_lost(record.lost);
  out.set_state(static_cast<std::uint32_t>(record.state));
  out.set_period_end_ms(record.period_end_wall_ms);
  out.set_synced_ms(record.synced_wall_ms);
  for (const std::uint64_t change : record.changes)
    out.add_changes(change);
  out.set_type(static_cast<std::uint32_t>(record.config.type));
  out.set_period(static_cast<std::uint32_t>(record.config.period));
  out.set_config_total(record.config.total);
  out.set_valid_until_ms(record.config.valid_until_wall_ms);
  out.set_rate_per_min(record.config.rate_per_min);
  out.set_rate_burst(record.config.rate_burst);
  out.set_zone(record.config.zone);
  return out.SerializeAsString();
}

bool units_are_good(std::int64_t units) { return units >= 0 && units <= lease::kUnitsMax; }

// Empty, or why it cannot be used.
std::string read_record(const rpc::KeyValue& kv, lease::QuotaRecord& record) {
  stored::QuotaRecord in;
  if (!in.ParseFromString(kv.value())) return "its record in etcd is damaged";
  if (in.format() > kFormat) return "its record in etcd is of a newer version of weir";
  if (in.format() == 0 || in.state() > static_cast<std::uint32_t>(lease::QuotaState::deleted) ||
      in.type() > static_cast<std::uint32_t>(lease::QuotaType::hybrid) ||
      in.period() > static_cast<std::uint32_t>(lease::QuotaPeriod::month) ||
      static_cast<std::size_t>(in.changes_size()) > lease::kRecentChangesMax)
    return "its record in etcd is damaged";
  for (const std::int64_t units :
       {in.total(), in.remaining(), in.consumed(), in.lost(), in.config_total()})
    if (!units_are_good(units)) return "its record in etcd is damaged";
  record.version = static_cast<std::uint64_t>(kv.mod_revision());
  record.gen = in.gen();
  record.total = in.total();
  record.remaining = in.remaining();
  record.consumed = in.consumed();
  record.lost = in.lost();
  record.state = static_cast<lease::QuotaState>(in.state());
  record.period_end_wall_ms = in.period_end_ms();
  record.synced_wall_ms = in.synced_ms();
  record.changes.assign(in.changes().begin(), in.changes().end());
  record.config.type = static_cast<lease::QuotaType>(in.type());
  record.config.period = static_cast<lease::QuotaPeriod>(in.period());
  record.config.total = in.config_total();
  record.config.valid_until_wall_ms = in.valid_until_ms();
  record.config.rate_per_min = in.rate_per_min();
  record.config.rate_burst = in.rate_burst();
  record.config.zone = in.zone();
  return {};
}

std::string holding_text(const lease::QuotaHolding& holding) {
  stored::QuotaHolding out;
  out.set_host(holding.host);
  out.set_last_seq(holding.last_seq);
  out.set_gen(holding.gen);
  out.set_consumed(holding.consumed);
  out.set_refunded(holding.refunded);
  for (const lease::Chunk& chunk : holding.chunks) {
    stored::QuotaChunk& to = *out.add_chunks();
    to.set_seq(chunk.seq);
    to.set_gen(chunk.gen);
    to.set_granted(chunk.granted);
    to.set_spent(chunk.spent);
    to.set_state(static_cast<std::uint32_t>(chunk.state));
  }
  return out.SerializeAsString();
}

bool read_holding(const std::string& value, lease::QuotaHolding& holding) {
  stored::QuotaHolding in;
  if (!in.ParseFromString(value)) return false;
  holding.host = in.host();
  holding.last_seq = in.last_seq();
  holding.gen = in.gen();
  holding.consumed = in.consumed();
  holding.refunded = in.refunded();
  if (!units_are_good(in.consumed()) || !units_are_good(in.refunded())) return false;
  for (const stored::QuotaChunk& chunk : in.chunks()) {
    if (chunk.state() > static_cast<std::uint32_t>(lease::ChunkState::written_back) ||
        !units_are_good(chunk.granted()) || !units_are_good(chunk.spent()) ||
        chunk.spent() > chunk.granted())
      return false;
    holding.chunks.push_back({chunk.seq(), chunk.gen(), chunk.granted(), chunk.spent(),
                              static_cast<lease::ChunkState>(chunk.state())});
  }
  return true;
}

// Of a key: record and holdings, which balance. Empty, or why it cannot be used.
std::string read_key(const rpc::KeyValue& record, const rpc::RangeResponse& holdings,
                     std::size_t prefix_bytes, lease::QuotaLoaded& loaded) {
  if (std::string why = read_record(record, loaded.record); !why.empty()) return why;
  lease::Units held = 0;
  for (const rpc::KeyValue& kv : holdings.kvs()) {
    lease::QuotaHolding& holding = loaded.holdings.emplace_back();
    if (!from_hex(std::string_view(kv.key()).substr(prefix_bytes), holding.agent_epoch) ||
        !read_holding(kv.value(), holding))
      return "what a host holds of it is damaged in etcd";
    held += lease::held_in(holding, loaded.record.gen);
  }
  if (held != loaded.record.held()) return "its books in etcd do not balance";
  return {};
}

void require_revision(rpc::TxnRequest& request, const std::string& key, std::uint64_t revision) {
  rpc::Compare& compare = *request.add_compare();
  compare.set_target(rpc::Compare::MOD);
  compare.set_key(key);
  compare.set_mod_revision(static_cast<std::int64_t>(revision));
}

void add_get_on_failure(rpc::TxnRequest& request, const std::string& key) {
  request.add_failure()->mutable_request_range()->set_key(key);
}

constexpr const char* kNotOurs = "the namespace is not this server's any more";

}  // namespace

EtcdQuotaStore::EtcdQuotaStore(Client& client, QuotaStoreOptions options)
    : client_(client), options_(std::move(options)) {
  while (writer_ == 0)
    if (::getrandom(&writer_, sizeof writer_, 0) != sizeof writer_)
      writer_ = static_cast<std::uint64_t>(Clock::now().time_since_epoch().count());
  stats_.durability =
      "durable: each change is a transaction of etcd, synced by most of its members";
}

EtcdQuotaStore::~EtcdQuotaStore() = default;

std::string EtcdQuotaStore::root(const std::string& name_space) const {
  return options_.prefix + "/quota/" + name_space + "/";
}

StoreStats EtcdQuotaStore::stats() const {
  StoreStats stats = stats_;
  stats.waiting = waiting_;
  return stats;
}

// ------------------------------------------------------------------ commits

// The same for the same transaction, however often it is sent.
std::uint64_t EtcdQuotaStore::serial_of(const Transaction& transaction, bool& sent_before) {
  const auto known = unsure_.find(transaction.get());
  sent_before = known != unsure_.end() && known->second.transaction.lock() == transaction;
  const std::uint64_t serial = sent_before ? known->second.serial : ++serials_;
  if (known != unsure_.end()) unsure_.erase(known);
  return serial;
}

void EtcdQuotaStore::commit(const std::string& name_space, Transaction transaction, Done done) {
  Commit one;
  one.serial = serial_of(transaction, one.sent_before);
  one.transaction = std::move(transaction);
  one.done = std::move(done);
  ++waiting_;
  if (waiting_ > options_.commits_max && !one.sent_before)
    return tell(name_space, one, {CommitOutcome::failed, 0, "too many transactions wait for etcd"});
  Space& to = spaces_[name_space];
  to.waiting.push_back(std::move(one));
  if (!std::exchange(to.in_turn, true)) turns_.push_back(name_space);
  if (std::exchange(sending_, true)) return;
  // What else is decided in this turn of the loop goes along.
  options_.post([this, weak = std::weak_ptr<int>(alive_)] {
    if (weak.expired()) return;
    sending_ = false;
    send_waiting();
  });
}

EtcdQuotaStore::Space& EtcdQuotaStore::space(const std::string& name_space, const Fence& fence) {
  Space& known = spaces_[name_space];
  // Meanwhile somebody else may have owned it, and taken keys out.
  if (known.create_revision != fence.create_revision) known.indexed.clear();
  known.create_revision = fence.create_revision;
  return known;
}

void EtcdQuotaStore::send_waiting() {
  while (in_flight_ < options_.in_flight_max && !turns_.empty()) {
    Batch batch;
    batch.name_space = std::move(turns_.front());
    turns_.pop_front();
    Space& from = spaces_[batch.name_space];
    from.in_turn = false;
    const std::optional<Fence> fence = options_.fence(batch.name_space);
    if (!fence) {
      for (Commit& one : std::exchange(from.waiting, {}))
        tell(batch.name_space, one,
             {one.sent_before ? CommitOutcome::unknown : CommitOutcome::failed, 0, kNotOurs});
      continue;
    }
    batch.fence = *fence;
    // Each has a record, and in the worst case two operations for everybody whom it concerns.
    std::size_t operations = 1;
    while (!from.waiting.empty()) {
      const lease::QuotaTransaction& next = *from.waiting.front().transaction;
      const std::size_t more = 1 + 2 * (next.holdings.size() + next.holdings_gone.size());
      if (!batch.commits.empty() && operations + more > options_.operations_max) break;
      operations += more;
      batch.commits.push_back(std::move(from.waiting.front()));
      from.waiting.pop_front();
    }
    if (!from.waiting.empty()) {
      from.in_turn = true;
      turns_.push_back(batch.name_space);
    }
    if (!batch.commits.empty()) send(std::move(batch));
  }
}

void EtcdQuotaStore::send(Batch batch) {
  const std::string at = root(batch.name_space);
  Space& known = space(batch.name_space, batch.fence);
  rpc::TxnRequest request;
  require_created(request, batch.fence.owner_key, batch.fence.create_revision);
  add_get_on_failure(request, batch.fence.owner_key);
  for (const Commit& one : batch.commits) {
    const lease::QuotaTransaction& change = *one.transaction;
    const std::string record = record_key(at, change.key);
    require_revision(request, record, change.expected_version);
    add_get_on_failure(request, record);
    add_put(request, record, record_text(change.record, writer_, one.serial));
    for (const lease::QuotaHolding& holding : change.holdings) {
      add_put(request, holdings_of(at, change.key) + hex(holding.agent_epoch),
              holding_text(holding));
      const std::string index = index_of(at, holding.agent_epoch) + change.key;
      if (!known.indexed.contains(index)) add_put(request, index, holding.host);
    }
    for (const std::uint64_t agent_epoch : change.holdings_gone) {
      const std::string index = index_of(at, agent_epoch) + change.key;
      add_delete(request, holdings_of(at, change.key) + hex(agent_epoch));
      add_delete(request, index);
      known.indexed.erase(index);
    }
  }
  ++in_flight_;
  const auto sent = std::make_shared<Batch>(std::move(batch));
  client_.txn(
      std::move(request), kDeadline,
      [this, weak = std::weak_ptr<int>(alive_), sent, start = Clock::now()](
          const Status& status, const rpc::TxnResponse& response) {
        if (weak.expired()) return;
        --in_flight_;
        stats_.commit_us =
            std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count();
        on_answer(*sent, status, response);
        send_waiting();
      });
}

void EtcdQuotaStore::on_answer(Batch& batch, const Status& status,
                               const rpc::TxnResponse& response) {
  if (!status.ok()) {
    stats_.degraded = true;
    stats_.last_error = "etcd: " + status.text;
    for (Commit& one : batch.commits) {
      const bool surely_not = status.code == Status::Code::refused && !one.sent_before;
      tell(batch.name_space, one,
           {surely_not ? CommitOutcome::failed : CommitOutcome::unknown, 0, stats_.last_error});
    }
    return;
  }
  stats_.degraded = false;
  if (!response.succeeded()) return sort_out(batch, response);
  ++stats_.commits_total;
  const auto version = static_cast<std::uint64_t>(response.header().revision());
  const std::string at = root(batch.name_space);
  Space& known = spaces_[batch.name_space];
  for (Commit& one : batch.commits) {
    if (known.create_revision == batch.fence.create_revision)
      note_indexed(known, at, *one.transaction);
    tell(batch.name_space, one, {CommitOutcome::durable, version, {}});
  }
}

// Nothing of the batch was done now. Who is to blame for that is told so; the others go again.
void EtcdQuotaStore::sort_out(Batch& batch, const rpc::TxnResponse& response) {
  const auto got = [&](std::size_t i) -> const rpc::KeyValue* {
    const rpc::RangeResponse& range = response.responses(static_cast<int>(i)).response_range();
    return range.kvs_size() == 1 ? &range.kvs(0) : nullptr;
  };
  const rpc::KeyValue* owner = got(0);
  const bool ours = owner != nullptr && owner->create_revision() == batch.fence.create_revision;
  std::deque<Commit> again;
  for (std::size_t i = 0; i < batch.commits.size(); ++i) {
    Commit& one = batch.commits[i];
    const rpc::KeyValue* kv = got(i + 1);
    const std::uint64_t revision =
        kv == nullptr ? 0 : static_cast<std::uint64_t>(kv->mod_revision());
    stored::QuotaRecord record;
    if (kv != nullptr && record.ParseFromString(kv->value()) && record.writer() == writer_ &&
        record.serial() == one.serial)
      tell(batch.name_space, one, {CommitOutcome::durable, revision, {}});
    else if (!ours)  // so an earlier copy that is still under way changes nothing either
      tell(batch.name_space, one, {CommitOutcome::failed, 0, kNotOurs});
    else if (revision != one.transaction->expected_version)
      tell(batch.name_space, one, {CommitOutcome::conflict, 0, {}});
    else
      again.push_back(std::move(one));
  }
  if (again.empty()) return;
  Space& to = spaces_[batch.name_space];
  to.waiting.insert(to.waiting.begin(), std::make_move_iterator(again.begin()),
                    std::make_move_iterator(again.end()));
  if (!std::exchange(to.in_turn, true)) turns_.push_front(batch.name_space);
}

void EtcdQuotaStore::note_indexed(Space& known, const std::string& root,
                                  const lease::QuotaTransaction& one) {
  if (known.indexed.size() + one.holdings.size() > kIndexedMax) known.indexed.clear();
  for (const lease::QuotaHolding& holding : one.holdings)
    known.indexed.insert(index_of(root, holding.agent_epoch) + one.key);
}

void EtcdQuotaStore::tell(const std::string& name_space, Commit& one, const CommitResult& result) {
  Told told{{}, std::move(one.done), result};
  switch (result.outcome) {
    case CommitOutcome::durable:
      ++stats_.transactions_total;
      if (options_.audit != nullptr)
        for (const lease::QuotaEvent& event : one.transaction->events)
          told.rows.push_back({0, name_space, one.transaction->key, event, 0, 0});
      break;
    case CommitOutcome::conflict:
      ++stats_.conflicts_total;
      break;
    case CommitOutcome::failed:
      ++stats_.failures_total;
      break;
    case CommitOutcome::unknown:
      ++stats_.failures_total;
      if (unsure_.size() >= kUnsureMax)
        std::erase_if(unsure_, [](const auto& each) { return each.second.transaction.expired(); });
      unsure_[one.transaction.get()] = {one.transaction, one.serial};
      break;
  }
  one.transaction.reset();
  told_.push_back(std::move(told));
  if (told_.size() == 1) flush_told();
}

// In their order: who decides something has to wait while the audit log has no room for it.
void EtcdQuotaStore::flush_told() {
  while (!told_.empty()) {
    Told& first = told_.front();
    if (!first.rows.empty() && !options_.audit->offer(first.rows)) {
      if (std::exchange(asked_for_space_, true)) return;
      options_.audit->on_space([this, weak = std::weak_ptr<int>(alive_)] {
        if (weak.expired()) return;
        asked_for_space_ = false;
        flush_told();
      });
      return;
    }
    const Told told = std::move(first);
    told_.front() = {};
    --waiting_;
    told.done(told.result);  // perhaps another one is told meanwhile, behind this one
    told_.pop_front();
  }
}

// ------------------------------------------------------------------ reading

// Reads may be sent as often as one likes.
void EtcdQuotaStore::read(rpc::TxnRequest request, int tries,
                          std::function<void(const std::string&, const rpc::TxnResponse&)> done) {
  rpc::TxnRequest copy = request;
  client_.txn(std::move(copy), kDeadline,
              [this, weak = std::weak_ptr<int>(alive_), request = std::move(request), tries,
               done = std::move(done)](const Status& status, const rpc::TxnResponse& response) {
                if (weak.expired()) return;
                if (status.ok()) return done({}, response);
                if (status.code == Status::Code::unknown && tries < kReadTriesMax)
                  return read(request, tries + 1, done);
                done("etcd: " + status.text, response);
              });
}

void EtcdQuotaStore::range(const std::string& from, const std::string& to, std::int64_t limit,
                           bool keys_only, Ranged done) {
  rpc::TxnRequest request;
  rpc::RangeRequest& range = add_get(request, from);
  range.set_range_end(to);
  range.set_limit(limit);
  range.set_keys_only(keys_only);
  read(std::move(request), 1,
       [done = std::move(done)](const std::string& why, const rpc::TxnResponse& response) {
         done(why, why.empty() ? response.responses(0).response_range() : rpc::RangeResponse{});
       });
}

void EtcdQuotaStore::load(const std::string& name_space, const std::string& key,
                          std::function<void(LoadResult)> done) {
  rpc::TxnRequest request;
  const std::string at = root(name_space);
  add_get(request, record_key(at, key));
  const std::string holdings = holdings_of(at, key);
  add_get_prefix(request, holdings);
  read(std::move(request), 1,
       [this, name_space, key, prefix_bytes = holdings.size(), done = std::move(done)](
           const std::string& why, const rpc::TxnResponse& response) {
         ++stats_.loads_total;
         LoadResult result;
         result.why = why;
         if (why.empty() && response.responses(0).response_range().kvs_size() == 1) {
           lease::QuotaLoaded loaded;
           result.why = read_key(response.responses(0).response_range().kvs(0),
                                 response.responses(1).response_range(), prefix_bytes, loaded);
           if (result.why.empty()) result.loaded = std::move(loaded);
         }
         done(std::move(result));
       });
}

void EtcdQuotaStore::agents(const std::string& name_space, std::function<void(AgentResult)> done) {
  const std::string prefix = root(name_space) + "a/";
  next_agent(prefix, prefix, std::make_shared<AgentResult>(), done);
}

// From one agent to the next: as many steps as there are agents, not keys.
void EtcdQuotaStore::next_agent(const std::string& prefix, const std::string& from,
                                std::shared_ptr<AgentResult> result,
                                const std::function<void(AgentResult)>& done) {
  range(from, prefix_end(prefix), 1, false,
        [this, prefix, result, done](const std::string& why, const rpc::RangeResponse& found) {
          result->why = why;
          if (!why.empty() || found.kvs_size() == 0) return done(std::move(*result));
          const std::string& key = found.kvs(0).key();
          const std::string agent = key.substr(prefix.size(), 16);
          std::uint64_t agent_epoch = 0;
          if (from_hex(agent, agent_epoch))
            result->agents.emplace_back(agent_epoch, found.kvs(0).value());
          next_agent(prefix, prefix_end(prefix + agent + "/"), result, done);
        });
}

void EtcdQuotaStore::keys_of(const std::string& name_space, std::uint64_t agent_epoch,
                             const std::string& after, std::uint32_t rows_max,
                             std::function<void(KeysResult)> done) {
  const std::string prefix = index_of(root(name_space), agent_epoch);
  const std::int64_t limit = std::clamp(rows_max, 1U, kPageRowsMax);
  range(after.empty() ? prefix : prefix + after + kAfterKey, prefix_end(prefix), limit, true,
        [prefix, done = std::move(done)](const std::string& why, const rpc::RangeResponse& found) {
          KeysResult result;
          result.why = why;
          result.more = found.more();
          for (const rpc::KeyValue& kv : found.kvs())
            result.keys.push_back(kv.key().substr(prefix.size()));
          done(std::move(result));
        });
}

struct EtcdQuotaStore::Page {
  QuotaQuery query;
  std::function<void(QuotaPage)> done;
  QuotaPage result;
  std::string prefix, from, to;
};

void EtcdQuotaStore::page(const QuotaQuery& query, std::function<void(QuotaPage)> done) {
  auto page = std::make_shared<Page>();
  page->query = query;
  page->query.rows_max = std::clamp(query.rows_max, 1U, kPageRowsMax);
  page->done = std::move(done);
  page->prefix = record_key(root(query.name_space), "");
  const std::string named =
      page->prefix + (query.name.empty() ? "" : lease::quota_key(query.name, ""));
  page->to = prefix_end(named);
  page->from = named;
  if (!query.after.empty())
    page->from = std::max(page->from, page->prefix + query.after + kAfterKey);
  next_rows(std::move(page));
}

void EtcdQuotaStore::next_rows(std::shared_ptr<Page> page) {
  const std::int64_t limit =
      std::min<std::int64_t>(kPageOfKeys, std::int64_t{page->query.rows_max} + 1);
  if (page->from >= page->to) return page->done(std::move(page->result));
  range(page->from, page->to, limit, false,
        [this, page](const std::string& why, const rpc::RangeResponse& found) {
          page->result.why = why;
          for (const rpc::KeyValue& kv : found.kvs()) {
            QuotaPage::Row row;
            row.key = kv.key().substr(page->prefix.size());
            if (std::string wrong = read_record(kv, row.record); !wrong.empty()) {
              page->result.why = row.key + ": " + wrong;
              break;
            }
            if (row.record.state == lease::QuotaState::deleted) continue;
            if (page->query.lost_only && row.record.lost == 0) continue;
            if (page->result.rows.size() == page->query.rows_max) {
              page->result.more = true;
              break;
            }
            page->result.rows.push_back(std::move(row));
          }
          if (!page->result.why.empty() || page->result.more || !found.more())
            return page->done(std::move(page->result));
          page->from = found.kvs(found.kvs_size() - 1).key() + kAfterKey;
          next_rows(page);
        });
}

}  // namespace weir::server::etcd
