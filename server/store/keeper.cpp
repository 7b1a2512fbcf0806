#include "server/store/keeper.h"

#include <utility>

namespace weir::server {
namespace {

constexpr std::uint32_t kScanRows = 512;

}  // namespace

struct BookKeeper::Shared {
  lease::QuotaBook& book;
  QuotaStore& store;
  std::string name_space;
  Clock clock;
  BookKeeper* keeper = nullptr;  // nullptr: gone
  bool pumping = false;
  lease::QuotaEffects effects{};
};

BookKeeper::BookKeeper(lease::QuotaBook& book, QuotaStore& store, std::string name_space,
                       Clock clock)
    : shared_(std::make_shared<Shared>(
          Shared{book, store, std::move(name_space), std::move(clock), this})) {}
BookKeeper::~BookKeeper() { shared_->keeper = nullptr; }

void BookKeeper::start(std::function<void(std::string why)> ready) {
  shared_->store.agents(shared_->name_space,
                        [shared = shared_, ready = std::move(ready)](const AgentResult& result) {
                          if (shared->keeper == nullptr) return;
                          for (const auto& [agent_epoch, host] : result.agents)
                            shared->book.await_agent(agent_epoch, host, shared->clock());
                          if (ready) ready(result.why);
                        });
}

void BookKeeper::pump() {
  Shared& shared = *shared_;
  // What is called below may call the book, and so this again: the loop sees it.
  if (shared.pumping) return;
  shared.pumping = true;
  for (bool more = true; more;) {
    shared.book.take(shared.effects);
    const lease::QuotaEffects& effects = shared.effects;
    more = !effects.loads.empty() || !effects.transactions.empty() || !effects.scans.empty() ||
           !effects.replies.empty() || !effects.results.empty() || !effects.pokes.empty();
    for (const std::string& key : effects.loads)
      load(key);
    for (const auto& transaction : effects.transactions)
      submit(transaction);
    for (const lease::QuotaScan& one : effects.scans)
      scan(one);
    for (const lease::QuotaReply& reply : effects.replies)
      if (on_reply) on_reply(reply);
    for (const lease::QuotaResult& result : effects.results)
      if (on_result) on_result(result);
    for (const lease::QuotaPoke& poke : effects.pokes)
      if (on_poke) on_poke(poke);
  }
  shared.pumping = false;
  if (on_pumped) on_pumped();
}

void BookKeeper::submit(std::shared_ptr<const lease::QuotaTransaction> transaction) {
  const auto told = [shared = shared_, transaction](const CommitResult& result) {
    if (shared->keeper == nullptr) return;
    const lease::TimeNs now_ns = shared->clock();
    lease::QuotaBook& book = shared->book;
    switch (result.outcome) {
      case CommitOutcome::durable:
        book.on_durable(transaction->id, transaction->key, result.version, now_ns);
        break;
      case CommitOutcome::conflict:
        book.on_conflict(transaction->id, transaction->key, now_ns);
        break;
      case CommitOutcome::failed:
        book.on_failed(transaction->id, transaction->key, result.why, now_ns);
        break;
      case CommitOutcome::unknown:
        book.on_unknown(transaction->id, transaction->key, now_ns);
        break;
    }
    shared->keeper->pump();
  };
  shared_->store.commit(shared_->name_space, std::move(transaction), told);
}

void BookKeeper::load(const std::string& key) {
  shared_->store.load(shared_->name_space, key, [shared = shared_, key](LoadResult result) {
    if (shared->keeper == nullptr) return;
    if (result.why.empty())
      shared->book.on_loaded(key, std::move(result.loaded), shared->clock());
    else
      shared->book.on_load_failed(key, result.why, shared->clock());
    shared->keeper->pump();
  });
}

void BookKeeper::scan(const lease::QuotaScan& scan) {
  shared_->store.keys_of(
      shared_->name_space, scan.agent_epoch, scan.after, kScanRows,
      [shared = shared_, agent_epoch = scan.agent_epoch](const KeysResult& result) {
        if (shared->keeper == nullptr) return;
        // What cannot be read now is looked for after another silence.
        if (!result.why.empty())
          shared->book.await_agent(agent_epoch, {}, shared->clock());
        else
          shared->book.on_scanned(agent_epoch, result.keys, result.more, shared->clock());
        shared->keeper->pump();
      });
}

}  // namespace weir::server
