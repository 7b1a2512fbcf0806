// The server's side of the quotas of one namespace: whose chunk is whose, and what is left.
//
// The rules that everything else serves. What is handed out of a generation is never more than its
// total. A chunk is debited and remembered in one transaction, on stable storage, before the answer
// that carries it; the same request gets the same chunk; what comes back is credited once. A key
// is changed by one transaction at a time: while it is under way, whoever asks waits, and all who
// wait share the next one.
//
// Pure: messages, times and what the store says go in; answers, transactions and loads come out.
// Only keys in use are here; the caller loads them when the book asks for it. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lease/quota.h"

namespace weir::lease {

// The first edge of a quota's period that is later than the given time of day; 0: none. The
// caller knows calendars, this folder does not.
using EdgeAfter = std::function<std::int64_t(const QuotaConfig&, std::int64_t wall_ms)>;

// What is decided for all keys of a quota.
struct QuotaTerms {
  // Of a chunk, while enough remains; a need that is larger is met all the same.
  Units chunk_min = 1;
  Units chunk_max = kUnitsMax;
  bool make_keys = false;     // at their first use; one that was deleted stays so
  QuotaConfig config;         // that such a key begins with
  std::int64_t valid_ms = 0;  // from then on, in place of the config's; 0: as the config says
};
// Nothing where nothing was decided. Good until the next call of the book.
using QuotaTermsOf = std::function<const QuotaTerms*(std::string_view name)>;

struct QuotaBookOptions {
  // That a chunk may be spent without a word from the server: so long a suspension, a reset or the
  // end of a period takes to reach a host that is cut off.
  TimeNs chunk_ttl_ns = 30 * kSecond;
  TimeNs lost_after_ns = 600 * kSecond;  // of silence; then a host's chunks are lost
  TimeNs flush_ns = 500 * kMs;           // usage that is only heard of becomes durable
  TimeNs idle_ns = 60 * kSecond;         // then a key is unloaded
  TimeNs retry_ns = 200 * kMs;           // between tries of a transaction of unknown outcome
  TimeNs poke_gap_ns = 100 * kMs;
  // Here at the same time, at about 600 bytes each; the one that was not used for longest goes.
  std::size_t keys_max = 700'000;
  std::size_t waiting_max = 100'000;  // asks and changes that wait for the store
  std::size_t agents_max = 200'000;
  EdgeAfter edge_after;
  QuotaTermsOf terms_of;
};

// A rule taken out, for the tests that show that each one is needed. All false in earnest.
struct QuotaBookMutants {
  bool answer_early = false;         // do not wait for the transaction
  bool no_dedup = false;             // a repeated request gets another chunk
  bool chunk_not_stored = false;     // debit without the chunk
  bool no_expected_version = false;  // write over whatever is stored
  bool add_reports = false;          // count usage as differences
  bool keep_returned = false;        // a returned chunk stays, and is credited again
  bool credit_old_gen = false;       // a new generation gets what an old one returns
  bool keep_gen = false;             // reset within the same generation
  bool reclaim_unsettled = false;    // take back what a host has not named, though it may come
  bool never_reclaim = false;        // leave what a host has not named
  bool lost_is_free = false;         // what a silent host held goes to others at once
  bool never_lost = false;
  bool write_back_moves = false;        // no top-up: what was lost is simply there again
  bool write_back_then_credit = false;  // a late return counts although it was written back
  bool overdraw = false;                // need is granted, whatever is left
  bool big_chunks = false;              // do not shrink towards the end
  bool no_pokes = false;
  bool valid_beyond_edge = false;   // chunks outlive their period
  bool unknown_is_durable = false;  // take a transaction of unknown outcome for stored
  bool refunds_add = false;
  bool refund_anything = false;  // beyond what was consumed
  bool changes_repeat = false;   // a repeated change is done again
  bool no_rate = false;
  bool remake_deleted = false;  // a key that an operator deleted comes back by itself
  bool no_chunk_bounds = false;
};

enum class QuotaChangeKind : std::uint8_t {
  create,
  configure,
  top_up,
  reset,
  suspend,
  resume,
  remove,
  write_back
};

struct QuotaChange {
  QuotaChangeKind kind = QuotaChangeKind::create;
  std::string key;
  std::uint64_t change_id = 0;  // the same when it is tried again; 0: never is
  std::string by;               // for the log
  std::uint32_t uid = 0xffffffff;
  QuotaConfig config;  // create, configure; top_up of a quota in time: valid_until
  // configure: done only while this is what is configured, so that of two changes that were made
  // from the same reading the second is made again.
  std::optional<QuotaConfig> replaces;
  Units amount = -1;              // top_up; reset: the new total, -1 for the configured one
  std::uint64_t agent_epoch = 0;  // write_back: whose lost chunks
  std::uint64_t seq = 0;          // which of them; 0: all
};

enum class QuotaChangeOutcome : std::uint8_t {
  done,
  done_before,
  exists,
  unknown_key,
  bad,
  outdated,  // `replaces` is not what is configured any more
  busy,
  store_failed,
};

struct QuotaView {  // of a key, for people
  bool found = false;
  QuotaRecord record;
  std::vector<QuotaHolding> holdings;
};

struct QuotaResult {
  Ticket ticket = 0;
  QuotaChangeOutcome outcome = QuotaChangeOutcome::busy;
  std::string message;
  QuotaView view;
};

// The keys that the store has chunks of this agent for, a page at a time.
struct QuotaScan {
  std::uint64_t agent_epoch = 0;
  std::string after;
};

// What the caller must do.
struct QuotaEffects {
  std::vector<std::string> loads;
  std::vector<std::shared_ptr<const QuotaTransaction>> transactions;
  std::vector<QuotaReply> replies;
  std::vector<QuotaResult> results;
  std::vector<QuotaPoke> pokes;
  std::vector<QuotaScan> scans;

  void clear();
};

struct QuotaBookStats {
  std::size_t keys = 0, waiting = 0, agents = 0, dirty = 0, writing = 0;
  std::uint64_t asks_total = 0, granted_total = 0, transactions_total = 0, conflicts_total = 0,
                failures_total = 0, loads_total = 0, lost_units_total = 0, busy_total = 0;
  std::uint64_t forgotten_total = 0;  // chunks out there that the store does not know: it went back
};

class QuotaBook {
 public:
  QuotaBook(QuotaBookOptions options, TimeNs now_ns);
  ~QuotaBook();
  QuotaBook(const QuotaBook&) = delete;
  QuotaBook& operator=(const QuotaBook&) = delete;

  // The time of day now. Only the ends of periods and of validity follow it.
  void set_wall(std::int64_t wall_ms, TimeNs now_ns) noexcept;
  // From then on nothing is granted: see Book::set_fence.
  void set_fence(TimeNs until_ns) noexcept { fence_ns_ = until_ns; }
  // An agent that the store has chunks of: its silence begins now.
  void await_agent(std::uint64_t agent_epoch, const std::string& host, TimeNs now_ns);
  void heard(std::uint64_t agent_epoch, const std::string& host, TimeNs now_ns);

  void ask(Ticket ticket, QuotaAsk ask, TimeNs now_ns);
  void change(Ticket ticket, QuotaChange change, TimeNs now_ns);
  void read(Ticket ticket, const std::string& key, TimeNs now_ns);

  // What the store says. A key that is not there is loaded as nothing.
  void on_loaded(const std::string& key, std::optional<QuotaLoaded> loaded, TimeNs now_ns);
  void on_load_failed(const std::string& key, const std::string& why, TimeNs now_ns);
  void on_durable(std::uint64_t transaction, const std::string& key, std::uint64_t version,
                  TimeNs now_ns);
  // It was surely not stored: another version was there, or the store could not.
  void on_conflict(std::uint64_t transaction, const std::string& key, TimeNs now_ns);
  void on_failed(std::uint64_t transaction, const std::string& key, const std::string& why,
                 TimeNs now_ns);
  // Nobody knows. The same transaction is sent again until somebody does.
  void on_unknown(std::uint64_t transaction, const std::string& key, TimeNs now_ns);
  void on_scanned(std::uint64_t agent_epoch, const std::vector<std::string>& keys, bool more,
                  TimeNs now_ns);

  // What time brings; about every 10 ms.
  void poll(TimeNs now_ns);
  // What there is to do since the last call. Transactions of one key come one at a time.
  void take(QuotaEffects& effects);

  QuotaBookStats stats() const noexcept;
  // For tests: as it is in memory, stored or not. Nothing when it is not loaded.
  std::optional<QuotaView> view(const std::string& key) const;

  QuotaBookMutants mutants;

 private:
  struct Holding;
  struct Key;
  struct Work;
  struct Op;
  struct Applied;
  struct Agent {
    std::shared_ptr<const std::string> host;
    TimeNs heard_ns = 0;       // or awaited since
    TimeNs said_ns = -kNever;  // something, to us
    std::list<std::uint64_t>::iterator place;
  };

  // quota_book.cpp: keys, their queues and the store.
  Key* key_of(const std::string& name, TimeNs now_ns);
  void enqueue(const std::string& name, Op op, TimeNs now_ns);
  void refuse(const Op& op, const std::string& name, QuotaChangeOutcome outcome,
              const std::string& why);
  void run(Key& key, TimeNs now_ns);
  void start_transaction(Key& key, Work& work, TimeNs now_ns);
  void release(Key& key, Work& work);
  void apply(Key& key, Work& work, const Op& op, TimeNs now_ns);
  void reload(Key& key);
  Key* writing(std::uint64_t transaction, const std::string& name);
  void touch(Key& key, TimeNs now_ns);
  void unload(Key& key);
  void mark_dirty(Key& key, TimeNs now_ns);
  bool unloadable(const Key& key, TimeNs now_ns) const;
  void poll_agents(TimeNs now_ns);
  std::shared_ptr<const std::string> host_name(std::uint64_t agent_epoch, const std::string& host);
  std::int64_t wall_ms(TimeNs now_ns) const noexcept;

  // quota_ask.cpp: what an ask does to a key.
  void apply_ask(Key& key, Applied& applied, const QuotaAsk& ask, TimeNs now_ns);
  void take_reports(Key& key, Applied& applied, const QuotaAsk& ask, QuotaReply& reply,
                    TimeNs now_ns);
  void adopt_forgotten(Key& key, Applied& applied, const QuotaAsk& ask, const ChunkReport& report,
                       TimeNs now_ns);
  void count_spent(Key& key, Holding& holding, Chunk& chunk, Units spent);
  void close_chunk(Key& key, Applied& applied, Holding& holding, std::uint64_t seq, TimeNs now_ns);
  void take_refund(Key& key, Holding& holding, const QuotaAsk& ask);
  void decide(Key& key, Applied& applied, const QuotaAsk& ask, QuotaReply& reply, TimeNs now_ns);
  void grant(Key& key, Applied& applied, const QuotaAsk& ask, QuotaReply& reply, Units size,
             TimeNs now_ns);
  Units size_for(const Key& key, const QuotaAsk& ask) const;
  const QuotaTerms* terms_of(const Key& key) const;
  void make_if_wanted(Key& key, Applied& applied, const QuotaAsk& ask, TimeNs now_ns);
  void settle_rate(Key& key, TimeNs now_ns);
  void poke_holders(Key& key, std::uint64_t but, TimeNs now_ns);
  std::int64_t valid_ms(const QuotaRecord& record, TimeNs now_ns) const;

  // quota_change.cpp: what operators, calendars and silence do to it.
  void apply_change(Key& key, Applied& applied, const QuotaChange& change, TimeNs now_ns);
  std::string change_record(Key& key, Applied& applied, const QuotaChange& change,
                            QuotaChangeOutcome& outcome, TimeNs now_ns);
  std::string create(Key& key, const QuotaChange& change, QuotaChangeOutcome& outcome,
                     TimeNs now_ns);
  std::string configure(Key& key, const QuotaChange& change, TimeNs now_ns);
  std::string top_up(Key& key, const QuotaChange& change);
  std::string write_back(Key& key, const QuotaChange& change, Units& amount);
  void apply_lost(Key& key, Applied& applied, std::uint64_t agent_epoch, TimeNs since_ns,
                  TimeNs now_ns);
  void roll_over(Key& key, Applied& applied, TimeNs now_ns);
  void forget_unused(Key& key, Applied& applied);
  void new_generation(Key& key, Units total, TimeNs now_ns);
  void view_into(const Key& key, QuotaView& view) const;

  QuotaBookOptions options_;
  TimeNs started_ns_ = 0;
  TimeNs fence_ns_ = kNever;
  std::int64_t wall_ms_ = 0;
  TimeNs wall_at_ns_ = 0;
  std::unordered_map<std::string_view, std::unique_ptr<Key>> keys_;  // named by the keys
  Key* oldest_ = nullptr;  // keys in the order of their last use
  Key* newest_ = nullptr;
  std::deque<Key*> dirty_;
  std::vector<std::pair<TimeNs, std::string>> frozen_;  // of unknown outcome, until when
  std::unordered_map<std::uint64_t, Agent> agents_;
  std::list<std::uint64_t> by_heard_;
  std::size_t waiting_ = 0;
  std::size_t writing_ = 0;
  std::uint64_t transactions_ = 0;
  QuotaBookStats counts_;
  QuotaEffects effects_;
};

}  // namespace weir::lease
