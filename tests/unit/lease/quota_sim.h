// A book, a store that fails in every way it may, and some hosts, in virtual time from one seed:
// what is handed out, what is stored, and whether the books balance, checked at every step.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "lease/quota_book.h"
#include "lease/quota_desk.h"
#include "lease/random.h"

namespace weir::lease::test {

struct SimOptions {
  std::uint64_t seed = 1;
  std::size_t hosts = 4;
  std::size_t keys = 3;
  Units total = 400;
  TimeNs run_ns = 30 * kSecond;
  // Chances of a thousand, each 10 ms.
  int server_crash = 1, agent_crash = 2, partition = 1, operators = 3;
  // Of a thousand messages and transactions.
  int loss = 30, twice = 30, slow = 50, store_trouble = 60;
  bool periods = true;
  bool refunds = true;
  QuotaBookMutants book;
  QuotaDeskMutants desk;
};

class QuotaSim {
 public:
  explicit QuotaSim(const SimOptions& options);

  // The whole run: trouble, then calm, then everybody leaves. Empty, or the first thing that was
  // wrong.
  std::string run();

  struct Totals {
    Units handed = 0, consumed = 0, lost = 0, remaining = 0, total = 0, refunded = 0;
    std::uint64_t grants = 0, crashes = 0, conflicts = 0, lost_events = 0, late_returns = 0,
                  write_backs = 0, generations = 0;
  };
  const Totals& totals() const { return totals_; }

 private:
  struct Word {
    struct Part {
      std::uint64_t seq = 0, gen = 0;
      Units units = 0;
    };
    std::string key;
    std::deque<Part> parts;
    Units need = 0;
    Units refunded = 0;
    std::map<std::uint64_t, Units> spent_of_gen, refunded_of_gen;

    Units level() const;
  };
  struct Host {
    std::string name;
    std::unique_ptr<QuotaDesk> desk;
    std::vector<Word> words;
    std::map<std::uint32_t, QuotaKept> kept;  // outlives the agent
    TimeNs down_until_ns = 0;                 // the agent
    TimeNs cut_until_ns = 0;                  // no message in or out
    std::vector<int> thirst;                  // units a second, by key
    std::uint64_t agent_epoch = 0;
  };
  using Event = std::function<void()>;

  void at(TimeNs when_ns, Event event);
  void send(Host& host, Event event);
  void wrong(const std::string& what);

  void start_server();
  void crash_server();
  void serve();
  void submit(std::shared_ptr<const QuotaTransaction> transaction);
  bool land(const QuotaTransaction& transaction, std::uint64_t& version);
  void check_record(const std::string& key, const QuotaLoaded& loaded);
  void note_generation(const std::string& key, const QuotaRecord& before, const QuotaRecord& after);
  void start_agent(Host& host);
  void step_host(Host& host);
  void put_in_force(Host& host);
  void add(Host& host, std::uint32_t slot, Units units);
  void spend(Host& host, std::size_t key, Units units);
  void talk(Host& host);
  void operate();
  void trouble();
  void step();
  void finish();
  void create_keys();
  void check_end();

  SimOptions options_;
  Random random_;
  TimeNs now_ns_ = 1000 * kSecond;
  std::multimap<TimeNs, Event> events_;
  std::vector<std::unique_ptr<Host>> hosts_;
  std::unique_ptr<QuotaBook> book_;
  std::uint64_t life_ = 0;  // of the server
  TimeNs server_down_ns_ = 0;
  bool calm_ = false;
  bool dry_ = false;  // nobody spends

  // What is on stable storage, and what ever was.
  std::map<std::string, QuotaLoaded> stored_;
  std::uint64_t versions_ = 0;
  std::map<std::tuple<std::string, std::uint64_t, std::uint64_t>, Units> chunks_ever_;
  std::set<std::tuple<std::string, std::uint64_t, std::uint64_t>> added_ever_;
  std::map<std::pair<std::string, std::uint64_t>, Units> handed_, totals_of_;
  std::map<std::pair<std::string, std::uint64_t>, TimeNs> void_ns_;
  std::uint64_t tickets_ = 0;
  std::uint64_t change_ids_ = 0;
  std::vector<QuotaChange> retried_;
  std::string wrong_;
  Totals totals_;
};

}  // namespace weir::lease::test
