// A directory for one test, the store's options in it, and small things to do with a store.
#pragma once

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>

#include "server/store/completions.h"
#include "server/store/sqlite_store.h"

namespace weir::server::test {

class Place {
 public:
  Place() {
    std::string name = WEIR_BINARY_DIR "/store-test-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    dir_ = name;
  }
  ~Place() {
    if (mounted_) ::umount2(dir_.c_str(), MNT_DETACH);
    std::error_code ignored;
    std::filesystem::remove_all(dir_, ignored);
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  // A small disk in memory, for what a real one should not have to suffer. False: we may not.
  bool mount_small(std::size_t bytes) {
    const std::string size = "size=" + std::to_string(bytes);
    mounted_ = ::mount("weir-test", dir_.c_str(), "tmpfs", 0, size.c_str()) == 0;
    return mounted_;
  }
  bool remount_read_only() {
    return ::mount("weir-test", dir_.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, nullptr) == 0;
  }
  std::string path(const std::string& name = "store.db") const { return dir_ + "/" + name; }

 private:
  std::string dir_;
  bool mounted_ = false;
};

inline std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
inline void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// A store, and its answers on this thread.
struct OpenStore {
  explicit OpenStore(const std::string& path, bool allow_unsafe = false) {
    options.file.path = path;
    options.file.allow_unsafe = allow_unsafe;
    options.post = completions.post();
  }
  std::string open() { return SqliteStore::open(options, store); }
  template <class Result>
  Result wait(const std::function<void(std::function<void(Result)>)>& ask) {
    Result got;
    bool there = false;
    ask([&](Result result) {
      got = std::move(result);
      there = true;
    });
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!there && std::chrono::steady_clock::now() < end)
      completions.run(std::chrono::milliseconds(50));
    EXPECT_TRUE(there);
    return got;
  }
  CommitResult commit(const lease::QuotaTransaction& transaction) {
    return wait<CommitResult>([&](std::function<void(CommitResult)> done) {
      store->commit("ns", std::make_shared<const lease::QuotaTransaction>(transaction),
                    [done](const CommitResult& result) { done(result); });
    });
  }
  LoadResult load(const std::string& key) {
    return wait<LoadResult>(
        [&](std::function<void(LoadResult)> done) { store->load("ns", key, done); });
  }
  AuditPage audit(AuditQuery query) {
    query.name_space = "ns";
    return wait<AuditPage>([&](std::function<void(AuditPage)> done) { store->page(query, done); });
  }

  Completions completions;
  SqliteOptions options;
  std::unique_ptr<SqliteStore> store;
};

// A quota of a hundred, ten of which one host holds.
inline lease::QuotaTransaction transaction_for(const std::string& key, std::uint64_t version = 0,
                                               lease::Units spent = 0) {
  lease::QuotaTransaction made;
  made.id = 1;
  made.key = key;
  made.expected_version = version;
  made.record.config.total = 100;
  made.record.config.zone = "Europe/Berlin";
  made.record.gen = 5;
  made.record.total = 100;
  made.record.remaining = 90;
  made.record.consumed = spent;
  made.record.changes = {7, UINT64_MAX};
  lease::QuotaHolding holding;
  holding.agent_epoch = UINT64_MAX - 3;
  holding.host = "h1";
  holding.last_seq = 9;
  holding.gen = 5;
  holding.consumed = spent;
  holding.chunks.push_back({9, 5, 10, spent, lease::ChunkState::open});
  made.holdings.push_back(holding);
  lease::QuotaEvent event;
  event.action = lease::QuotaAction::grant;
  event.host = "h1";
  event.amount = 10;
  event.left = 90;
  event.at_wall_ms = 1'000;
  made.events.push_back(event);
  return made;
}

}  // namespace weir::server::test
