// A host's side of the quotas of one namespace: which chunks it has, what is spent of them, when
// more is wanted and what goes back.
//
// The caller has a word of units for each key in use, which processes take from. It tells the
// desk how much is left in it, and puts orders in force: units to add, words to drain. Two things
// it must keep to. Orders are in force before the next observe(). And what an order says is to be
// kept is written where it outlives the agent before units are added or anything is sent: then an
// agent that starts again goes on where the other one died, and nothing is spent twice.
//
// Pure: messages and times in, messages and orders out. One thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lease/quota.h"
#include "lease/random.h"

namespace weir::lease {

struct QuotaDeskOptions {
  std::string host;
  std::uint64_t agent_epoch = 0;  // random; 0: taken from the seed
  std::uint64_t seed = 1;
  TimeNs report_ns = 300 * kMs;  // usage is told so soon
  TimeNs retry_first_ns = 150 * kMs;
  TimeNs retry_most_ns = 1'200 * kMs;
  TimeNs refused_first_ns = 100 * kMs;  // between requests while nothing is to be had
  TimeNs refused_most_ns = 1'000 * kMs;
  TimeNs give_back_gap_ns = 100 * kMs;
  // A request without an answer is given up, so that a server that has forgotten this host is not
  // asked the same again. Shorter than the silence after which a server takes a host for lost.
  TimeNs give_up_ns = 60 * kSecond;
  TimeNs idle_ns = 10 * kSecond;  // without use, then everything goes back
};

struct QuotaDeskMutants {
  bool return_unfrozen = false;  // say that a chunk is returned while it is still spent
  bool accept_any = false;       // take a chunk that is not awaited
  bool forget_early = false;     // forget a returned chunk before the server has closed it
  bool valid_from_answer = false;
  bool never_invalid = false;    // spend on beyond the validity
  bool hoard = false;            // give nothing back
  bool mix_generations = false;  // units of two generations in one word
};

struct QuotaUse {
  Units level = 0;           // in the word; below zero counts as none
  Units need = 0;            // that somebody wants at once and did not get; 0: nobody
  Units refunded_total = 0;  // given back by processes, since the key was added
};

// What must outlive the agent, of one key.
struct QuotaKept {
  struct Mine {
    std::uint64_t seq = 0, gen = 0;
    Units granted = 0, spent = 0;
    bool added = false;     // to the word
    bool returned = false;  // taken out of it; `spent` is final
  };
  std::string key;
  std::uint64_t agent_epoch = 0;
  std::uint64_t seq = 0;  // the highest that was used
  std::uint64_t refund_gen = 0;
  Units refunded = 0;
  std::vector<Mine> chunks;  // the oldest, which is spent first, first
};

struct QuotaOrder {
  std::uint32_t slot = 0;
  bool keep = false;   // before anything else: write kept(slot) down
  Units add = 0;       // to the word
  bool drain = false;  // take everything out of the word, then say how much: drained()
  bool gone = false;   // dropped, and nothing is out any more: the slot is free
};

enum class QuotaService : std::uint8_t {
  none,
  ok,
  exhausted,
  rate_limited,
  suspended,
  expired,
  unknown_key,
  unreachable
};

std::string_view to_text(QuotaService service) noexcept;

struct QuotaDeskView {
  QuotaService service = QuotaService::none;
  Units unspent = 0;  // as far as is known
  Units per_s = 0;
  Units remaining_at_server = 0;
  TimeNs valid_end_ns = 0;
  TimeNs ask_after_ns = 0;  // nothing is requested before
  std::size_t chunks = 0;
  bool waiting = false;  // for an answer
};

class QuotaDesk {
 public:
  explicit QuotaDesk(QuotaDeskOptions options);

  // Slots are chosen by the caller, small and dense.
  void add_key(std::uint32_t slot, const std::string& key, TimeNs now_ns);
  // As an earlier agent kept it, with what is in the word now. Whatever is not there was spent.
  void restore_key(std::uint32_t slot, const QuotaKept& kept, Units level, TimeNs now_ns);
  // Everything goes back; an order says when the slot is free.
  void drop_key(std::uint32_t slot, TimeNs now_ns);
  // All keys: the host is going down, or has become somebody else's copy. A copy returns nothing:
  // its chunks are the other one's.
  void leave(TimeNs now_ns);
  // `agent_epoch`: of the new one; 0: a random one.
  void new_identity(TimeNs now_ns, std::uint64_t agent_epoch = 0);

  void observe(std::uint32_t slot, const QuotaUse& use, TimeNs now_ns);
  void drained(std::uint32_t slot, Units taken, TimeNs now_ns);

  // Ends what is not valid any more. Before anything else on every wake.
  void withdraw(TimeNs now_ns);
  // What to send now, at most so many; put orders in force first.
  void next_asks(TimeNs now_ns, std::size_t asks_max, std::vector<QuotaAsk>& asks);
  void on_reply(const QuotaReply& reply, TimeNs now_ns);
  void on_poke(const QuotaPoke& poke, TimeNs now_ns);
  TimeNs next_deadline() const noexcept;

  const std::vector<QuotaOrder>& take_orders();
  QuotaKept kept(std::uint32_t slot) const;
  QuotaDeskView view(std::uint32_t slot) const;
  std::uint64_t agent_epoch() const noexcept { return options_.agent_epoch; }
  bool empty() const noexcept { return index_.empty(); }

  QuotaDeskMutants mutants;

 private:
  using Mine = QuotaKept::Mine;
  struct Row {
    std::string key;
    bool used = false, leaving = false, draining = false;
    std::vector<Mine> chunks;
    std::uint64_t pending_seq = 0;
    // The last asks and when they were sent; of answers, only newer ones than heard count.
    std::array<std::pair<std::uint64_t, TimeNs>, 4> sent{};
    std::uint64_t heard_no = 0;
    TimeNs sent_ns = 0;        // the last one
    TimeNs first_sent_ns = 0;  // of the pending request
    TimeNs retry_ns = 0, retry_at_ns = 0;
    TimeNs refused_ns = 0;    // doubling
    TimeNs ask_after_ns = 0;  // nothing is requested before
    TimeNs valid_end_ns = 0, extend_at_ns = kNever;
    TimeNs used_at_ns = 0;  // spent or needed something
    TimeNs rate_at_ns = 0, given_back_ns = -kNever;
    TimeNs due_ns = kNever;  // in due_
    Units level = 0, need = 0;
    Units spent_since = 0;  // rate_at_ns
    Units per_s = 0;
    Units refunded = 0;       // in this generation
    Units refunded_seen = 0;  // of the caller's count
    std::uint64_t gen = 0;
    Units remaining = 0;
    bool told = true;  // the server knows what is spent
    bool ever = false;
    QuotaService service = QuotaService::none;
  };

  Row* row_of(const std::string& key);
  QuotaOrder& order(std::uint32_t slot);
  void keep(std::uint32_t slot);
  void spread(Row& row, Units spent);
  void count(std::uint32_t slot, Units spent, TimeNs now_ns);
  void drain(std::uint32_t slot);
  void add_waiting(std::uint32_t slot, TimeNs now_ns);
  void accept(std::uint32_t slot, const QuotaReply& reply, TimeNs now_ns);
  void refused(Row& row, const QuotaReply& reply, TimeNs now_ns);
  void extend(std::uint32_t slot, const QuotaReply& reply, TimeNs from_ns, TimeNs now_ns);
  void forget_closed(std::uint32_t slot, const QuotaReply& reply);
  void consider_giving_back(std::uint32_t slot, TimeNs now_ns);
  bool holds(const Row& row, std::uint64_t seq) const;
  bool wants_more(const Row& row, TimeNs now_ns) const;
  void compose(std::uint32_t slot, TimeNs now_ns, std::vector<QuotaAsk>& asks);
  void schedule(std::uint32_t slot, TimeNs now_ns);
  void finish(std::uint32_t slot);

  QuotaDeskOptions options_;
  Random random_;
  std::vector<Row> rows_;
  // Of keys that were dropped: what was refunded in which generation is a total to the server.
  std::unordered_map<std::string, std::pair<std::uint64_t, Units>> refunds_;
  std::unordered_map<std::string, std::uint32_t> index_;
  std::set<std::pair<TimeNs, std::uint32_t>> due_;
  std::vector<QuotaOrder> orders_, told_orders_;
  std::vector<std::string> orphans_;  // keys of answers that nobody waits for
  TimeNs earliest_end_ns_ = kNever;   // of any validity
  std::uint64_t seq_ = 0;
  std::uint64_t asks_ = 0;
};

}  // namespace weir::lease
