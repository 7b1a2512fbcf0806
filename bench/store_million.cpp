// A million keys: what starting costs with all of them stored, and what the server holds when all
// of them are in use at once.
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>

#include "bench/store_bench.h"
#include "server/store/completions.h"
#include "server/store/keeper.h"
#include "server/store/sqlite_store.h"

namespace weir::bench {
namespace {

constexpr std::uint64_t kInFlight = 2'000;

lease::TimeNs now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

double resident_mib() {
  std::ifstream in("/proc/self/statm");
  double pages = 0, resident = 0;
  in >> pages >> resident;
  return resident * 4096 / (1 << 20);
}

std::string key_of(std::uint64_t i) {
  return lease::quota_key("api-calls", "customer-" + std::to_string(100'000'000 + i));
}

struct Server {
  server::Completions completions;
  std::unique_ptr<server::SqliteStore> store;
  std::unique_ptr<lease::QuotaBook> book;
  std::unique_ptr<server::BookKeeper> keeper;
  std::uint64_t answered = 0;

  bool start(const std::string& path) {
    server::SqliteOptions options;
    options.file.path = path;
    options.post = completions.post();
    if (const std::string why = server::SqliteStore::open(options, store); !why.empty()) {
      std::fprintf(stderr, "weir_store_bench: %s\n", why.c_str());
      return false;
    }
    lease::QuotaBookOptions book_options;
    book_options.idle_ns = 3'600 * lease::kSecond;
    book = std::make_unique<lease::QuotaBook>(book_options, now_ns());
    keeper = std::make_unique<server::BookKeeper>(*book, *store, "bench", now_ns);
    keeper->on_reply = [this](const lease::QuotaReply&) { ++answered; };
    keeper->on_result = [this](const lease::QuotaResult&) { ++answered; };
    bool ready = false;
    keeper->start([&](const std::string&) { ready = true; });
    while (!ready)
      completions.run(std::chrono::milliseconds(5));
    return true;
  }
  // Calls `ask` for each key, some of them at a time.
  template <class Ask>
  void all(std::uint64_t keys, Ask ask) {
    answered = 0;
    for (std::uint64_t asked = 0; answered < keys;) {
      for (; asked < keys && asked - answered < kInFlight; ++asked)
        ask(asked);
      keeper->pump();
      completions.run(std::chrono::milliseconds(2));
    }
  }
};

// A quota and a chunk for each key.
bool fill(const std::string& path, std::uint64_t keys) {
  Server server;
  if (!server.start(path)) return false;
  server.all(keys, [&](std::uint64_t i) {
    lease::QuotaChange create;
    create.key = key_of(i);
    create.config.total = 100'000;
    server.book->change(i, create, now_ns());
  });
  server.all(keys, [&](std::uint64_t i) {
    lease::QuotaAsk ask;
    ask.key = key_of(i);
    ask.agent_epoch = 1 + i % 64;
    ask.host = "host-" + std::to_string(i % 64);
    ask.seq = i + 1;
    ask.need = 1;
    server.book->ask(i, ask, now_ns());
  });
  return true;
}

}  // namespace

std::vector<StoreRow> measure_million(const std::string& directory, bool quick) {
  const std::uint64_t keys = quick ? 50'000 : 1'000'000;
  const std::string path = directory + "/million.db";
  const std::string name = std::to_string(keys) + "_keys";
  // In a process of its own, so that what it needed is not in the figures.
  const pid_t filler = ::fork();
  if (filler == 0) ::_exit(fill(path, keys) ? 0 : 1);
  int status = 1;
  if (filler < 0 || ::waitpid(filler, &status, 0) != filler || status != 0) return {};
  const double before_mib = resident_mib();
  const lease::TimeNs start = now_ns();
  Server server;
  if (!server.start(path)) return {};
  const double start_s = static_cast<double>(now_ns() - start) / 1e9;
  const double idle_mib = resident_mib();
  server.all(keys, [&](std::uint64_t i) {
    lease::QuotaAsk ask;
    ask.key = key_of(i);
    ask.agent_epoch = 1 + i % 64;
    ask.host = "host-" + std::to_string(i % 64);
    server.book->ask(i, ask, now_ns());
  });
  StoreRow time{"start/" + name,
                start_s,
                "s",
                10,
                false,
                "integrity and every row checked; " + std::to_string(int(idle_mib)) +
                    " MiB then, " + std::to_string(int(before_mib)) + " before"};
  StoreRow memory{"memory/" + name + "_in_use",
                  resident_mib(),
                  "MiB",
                  500,
                  false,
                  "in the book " + std::to_string(server.book->stats().keys)};
  return {time, memory};
}

}  // namespace weir::bench
