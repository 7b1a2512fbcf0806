#include "server/state_store.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <fstream>

#include "tests/unit/net/loop.h"

namespace weir::server {
namespace {

namespace fs = std::filesystem;
using net::run_for;
using net::run_until;
using namespace std::chrono_literals;

class StateStoreTest : public testing::Test {
 protected:
  StateStoreTest() {
    char name[] = "/tmp/weir-state-XXXXXX";
    root_ = ::mkdtemp(name);
    dir_ = root_ + "/state";
  }
  ~StateStoreTest() override { fs::remove_all(root_); }

  StateOptions options() const { return {.dir = dir_, .patience = 1s, .retry = 50ms}; }
  // Waits for a commit; whether it is durable.
  bool commit(StateStore& store) {
    std::optional<bool> result;
    store.commit([&](bool durable) { result = durable; });
    EXPECT_TRUE(run_until(io, [&] { return result.has_value(); }));
    return result.value_or(false);
  }
  std::string read(const std::string& name) const {
    std::ifstream file(dir_ + "/" + name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void write(const std::string& name, const std::string& bytes) const {
    std::ofstream(dir_ + "/" + name, std::ios::binary | std::ios::trunc) << bytes;
  }

  boost::asio::io_context io;
  std::string root_;
  std::string dir_;
};

TEST_F(StateStoreTest, TheEpochRisesWithEveryStart) {
  std::uint64_t epoch = 0;
  for (int start = 0; start < 3; ++start) {
    StateStore store(io, options());
    const StateLoaded loaded = store.open();
    EXPECT_TRUE(start == 0 ? loaded.epoch > 0 : loaded.epoch == epoch + 1);
    epoch = loaded.epoch;
    EXPECT_EQ(read_epoch(read("epoch")), epoch);  // before anything was granted
    EXPECT_TRUE(loaded.notes.empty());
  }
}

// A state that was wiped must not bring an epoch back that agents know.
TEST_F(StateStoreTest, TheFirstEpochIsNeverTheSame) {
  std::set<std::uint64_t> epochs;
  for (int start = 0; start < 5; ++start) {
    {
      StateStore store(io, options());
      epochs.insert(store.open().epoch);
    }
    fs::remove_all(dir_);
  }
  EXPECT_EQ(epochs.size(), 5U);
}

TEST_F(StateStoreTest, TheKeyStaysAndIsOurs) {
  std::array<unsigned char, 16> key{};
  for (int start = 0; start < 2; ++start) {
    StateStore store(io, options());
    const StateLoaded loaded = store.open();
    if (start == 0) key = loaded.key;
    EXPECT_EQ(loaded.key, key);
  }
  EXPECT_NE(key, (std::array<unsigned char, 16>{}));
  for (const char* name : {"key", "epoch"}) {
    struct stat status {};
    ASSERT_EQ(::stat((dir_ + "/" + name).c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600U) << name;
  }
}

TEST_F(StateStoreTest, WhoWasMetIsKnownToTheNextStart) {
  {
    StateStore store(io, options());
    EXPECT_TRUE(store.open().known.empty());
    store.remember("shop", {"a", 1});
    store.remember("shop", {"b", 2});
    store.set_whole("shop", true);
    EXPECT_TRUE(commit(store));
    store.forget("shop", {"a", 1});
    store.remember("mail", {"m", 3});
    EXPECT_TRUE(commit(store));
  }
  StateStore store(io, options());
  const StateLoaded loaded = store.open();
  EXPECT_EQ(loaded.known.at("shop").identities, (std::set<Identity>{{"b", 2}}));
  EXPECT_TRUE(loaded.known.at("shop").whole);
  EXPECT_EQ(loaded.known.at("mail").identities, (std::set<Identity>{{"m", 3}}));
  EXPECT_FALSE(loaded.known.at("mail").whole);
}

TEST_F(StateStoreTest, ASecondServerIsTurnedAway) {
  StateStore first(io, options());
  ASSERT_EQ(first.open().error, "");
  StateStore second(io, options());
  EXPECT_EQ(second.open().error, dir_ + " is in use by another weir-server");
}

TEST_F(StateStoreTest, TheListIsWrittenAnewWhenItIsMostlyPast) {
  StateStore store(io, options());
  store.open();
  for (std::uint64_t i = 0; i < 3000; ++i) {
    store.remember("shop", {"host", i});
    store.forget("shop", {"host", i});
  }
  EXPECT_TRUE(commit(store));
  store.remember("shop", {"host", 1});
  EXPECT_TRUE(commit(store));
  EXPECT_LT(store.stats().file_bytes, 1000U);
}

TEST_F(StateStoreTest, DamageIsSaidAndNobodyCountsAsKnown) {
  {
    StateStore store(io, options());
    store.open();
    store.remember("shop", {"a", 1});
    store.set_whole("shop", true);
    commit(store);
  }
  std::string bytes = read("identities");
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  write("identities", bytes);
  write("epoch", "nonsense");
  write("key", "short");

  StateStore store(io, options());
  const StateLoaded loaded = store.open();

  EXPECT_EQ(loaded.error, "");
  EXPECT_EQ(loaded.notes.size(), 3U);
  EXPECT_GE(loaded.epoch, 1U);
  for (const auto& [name, hosts] : loaded.known)
    EXPECT_FALSE(hosts.whole);
}

TEST_F(StateStoreTest, ADirectoryThatCannotBeIsSaidAndTriedAgain) {
  dir_ = root_ + "/missing/state";
  StateStore store(io, options());
  const StateLoaded loaded = store.open();
  EXPECT_EQ(loaded.error, "");
  ASSERT_EQ(loaded.notes.size(), 1U);
  EXPECT_TRUE(store.stats().degraded);
  EXPECT_GE(loaded.epoch, 1U);
  store.remember("shop", {"a", 1});
  EXPECT_FALSE(commit(store));

  fs::create_directory(root_ + "/missing");
  EXPECT_TRUE(run_until(io, [&] {
    store.poll();
    return !store.stats().degraded;
  }));

  EXPECT_EQ(read_identities(read("identities")).known.at("shop").identities.size(), 1U);
  EXPECT_EQ(read_epoch(read("epoch")), loaded.epoch);
}

// A disk that is full: the server goes on, the list is taken away so that nobody believes it, and
// it is written whole when there is room again.
TEST_F(StateStoreTest, AFullDiskCostsTheNextStartItsFullTimeAlone) {
  ::signal(SIGXFSZ, SIG_IGN);
  StateStore store(io, options());
  store.open();
  store.remember("shop", {"a", 1});
  store.set_whole("shop", true);
  ASSERT_TRUE(commit(store));
  struct rlimit before {};
  ::getrlimit(RLIMIT_FSIZE, &before);
  struct rlimit full = before;
  full.rlim_cur = read("identities").size();
  ::setrlimit(RLIMIT_FSIZE, &full);

  store.remember("shop", {"b", 2});
  EXPECT_FALSE(commit(store));
  EXPECT_TRUE(store.stats().degraded);
  EXPECT_NE(store.stats().last_error, "");
  EXPECT_TRUE(run_until(io, [&] { return !fs::exists(dir_ + "/identities"); }));
  store.remember("shop", {"c", 3});
  EXPECT_FALSE(commit(store));

  ::setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_TRUE(run_until(io, [&] {
    store.poll();
    return !store.stats().degraded;
  }));
  const IdentitiesRead read_back = read_identities(read("identities"));
  EXPECT_EQ(read_back.damage, "");
  EXPECT_EQ(read_back.known.at("shop").identities.size(), 3U);
  EXPECT_TRUE(read_back.known.at("shop").whole);
  store.remember("shop", {"d", 4});
  EXPECT_TRUE(commit(store));
}

TEST_F(StateStoreTest, ARaisedEpochIsThereBeforeTheCommitIs) {
  {
    StateStore store(io, options());
    store.open();
    store.raise_epoch(77);  // below the random first one: nothing to do
    store.raise_epoch(1ULL << 40);
    EXPECT_TRUE(commit(store));
    EXPECT_EQ(read_epoch(read("epoch")), 1ULL << 40);
  }
  StateStore store(io, options());
  EXPECT_EQ(store.open().epoch, (1ULL << 40) + 1);
}

TEST_F(StateStoreTest, WithoutADirectoryNothingIsKeptAndNothingIsWrong) {
  StateStore store(io, {});
  const StateLoaded loaded = store.open();
  EXPECT_GE(loaded.epoch, 1U);
  EXPECT_NE(loaded.key, (std::array<unsigned char, 16>{}));
  store.remember("shop", {"a", 1});
  EXPECT_TRUE(commit(store));
  EXPECT_FALSE(store.stats().degraded);
  EXPECT_FALSE(store.stats().kept);
}

TEST_F(StateStoreTest, ManyHellosOfOneTurnAreOneWrite) {
  StateStore store(io, options());
  store.open();
  commit(store);
  const std::uint64_t before = store.stats().commits_total;
  int done = 0;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    store.remember("shop", {"host-" + std::to_string(i), i});
    store.commit([&](bool) { ++done; });
  }
  EXPECT_TRUE(run_until(io, [&] { return done == 1000; }));
  EXPECT_LE(store.stats().commits_total - before, 2U);
}

}  // namespace
}  // namespace weir::server
