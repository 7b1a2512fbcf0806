// A small server that grants chunks as fast as it can, to be killed: kill9_main STORE LIFE. Says
// on stdout what it has answered, a line each, once it has: 'agent seq granted key'.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "server/store/completions.h"
#include "server/store/keeper.h"
#include "server/store/sqlite_store.h"

namespace {

using namespace weir;

constexpr int kAgents = 8;
constexpr int kKeys = 5;
constexpr lease::Units kTotal = 1'000'000;

lease::TimeNs now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::string key_of(int i) { return lease::quota_key("calls", "k" + std::to_string(i)); }

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 64;
  const std::uint64_t life = std::strtoull(argv[2], nullptr, 10);
  server::Completions completions;
  server::SqliteOptions options;
  options.file.path = argv[1];
  options.post = completions.post();
  std::unique_ptr<server::SqliteStore> store;
  if (const std::string why = server::SqliteStore::open(options, store); !why.empty()) {
    std::printf("ERROR %s\n", why.c_str());
    return 1;
  }
  lease::QuotaBook book({}, now_ns());
  book.set_wall(1'700'000'000'000, now_ns());
  server::BookKeeper keeper(book, *store, "ns", now_ns);
  std::uint64_t ticket = 0;
  const auto ask = [&](std::uint64_t agent, int key, std::uint64_t seq, lease::Units granted) {
    lease::QuotaAsk what;
    what.key = key_of(key);
    what.agent_epoch = agent;
    what.host = "h" + std::to_string(agent);
    what.seq = seq;
    what.done_seq = seq - 1;
    what.need = 3;
    // The chunk before is spent, every unit of it.
    if (granted > 0) what.chunks.push_back({seq - 1, 0, granted, granted, true});
    book.ask(++ticket, what, now_ns());
  };
  keeper.on_reply = [&](const lease::QuotaReply& reply) {
    const int key = reply.key.back() - '0';
    if (reply.outcome == lease::QuotaOutcome::granted) {
      std::string line = std::to_string(reply.agent_epoch) + " " + std::to_string(reply.seq) + " " +
                         std::to_string(reply.granted) + " " + std::to_string(key) + "\n";
      if (::write(1, line.data(), line.size()) < 0) std::_Exit(2);
      ask(reply.agent_epoch, key, reply.seq + 1, reply.granted);
    } else {
      ask(reply.agent_epoch, key, reply.seq, 0);
    }
  };
  for (int key = 0; key < kKeys; ++key) {
    lease::QuotaChange create;
    create.key = key_of(key);
    create.config.total = kTotal;
    book.change(++ticket, create, now_ns());
  }
  for (int i = 0; i < kAgents; ++i)
    for (int key = 0; key < kKeys; ++key)
      ask(life * 100 + static_cast<std::uint64_t>(i), key, 1, 0);
  while (true) {
    keeper.pump();
    completions.run(std::chrono::milliseconds(10));
    book.poll(now_ns());
  }
}
