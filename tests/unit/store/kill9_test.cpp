// A server killed in the midst of its commits, again and again: what it has answered is stored,
// and the books balance.
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <thread>

#include "server/store/maintenance.h"
#include "tests/unit/store/place.h"

extern char** environ;

namespace weir::server::test {
namespace {

constexpr int kLives = 25;

// What one life said before it was killed.
std::string live_and_die(const std::string& path, int life, std::chrono::microseconds after) {
  std::array<int, 2> pipe{};
  if (::pipe(pipe.data()) != 0) return "ERROR pipe";
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipe[1], 1);
  posix_spawn_file_actions_addclose(&actions, pipe[0]);
  std::string program = WEIR_KILL9_PROGRAM;
  std::string store = path;
  std::string number = std::to_string(life);
  const std::array<char*, 4> arguments{program.data(), store.data(), number.data(), nullptr};
  pid_t pid = 0;
  const int error =
      ::posix_spawn(&pid, program.c_str(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(pipe[1]);
  if (error != 0) return "ERROR spawn";
  // The pipe must not fill up: it is read while the other one lives.
  std::string said;
  std::thread reader([&] {
    std::array<char, 65'536> bytes{};
    for (ssize_t size = 0; (size = ::read(pipe[0], bytes.data(), bytes.size())) > 0;)
      said.append(bytes.data(), static_cast<std::size_t>(size));
  });
  std::this_thread::sleep_for(after);
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  reader.join();
  ::close(pipe[0]);
  return said;
}

TEST(Kill9, WhatWasAnsweredIsStoredAndTheBooksBalance) {
  Place place;
  std::mt19937 random(7);
  std::uniform_int_distribution<int> after_ms(20, 160);
  // By agent and key: the last number that was answered, and how much it was.
  std::map<std::pair<std::uint64_t, int>, std::pair<std::uint64_t, lease::Units>> last;
  std::map<int, lease::Units> granted;
  std::size_t answers = 0;
  for (int life = 1; life <= kLives; ++life) {
    const std::string said =
        live_and_die(place.path(), life, std::chrono::milliseconds(after_ms(random)));
    ASSERT_EQ(said.find("ERROR"), std::string::npos) << said;
    std::istringstream lines(said.substr(0, said.rfind('\n') + 1));
    std::uint64_t agent = 0, seq = 0;
    lease::Units units = 0;
    int key = 0;
    while (lines >> agent >> seq >> units >> key) {
      last[{agent, key}] = {seq, units};
      granted[key] += units;
      ++answers;
    }
    CheckReport report;
    // A life may have ended before there was a store.
    if (std::filesystem::exists(place.path()) && answers > 0) {
      ASSERT_EQ(check_store(place.path(), report), "") << "life " << life;
    }
  }
  EXPECT_GT(answers, 1'000U);

  OpenStore open(place.path());
  ASSERT_EQ(open.open(), "");
  for (int key = 0; key < 5; ++key) {
    const LoadResult got = open.load(lease::quota_key("calls", "k" + std::to_string(key)));
    ASSERT_TRUE(got.loaded.has_value()) << got.why;
    EXPECT_LE(granted[key], got.loaded->record.total - got.loaded->record.remaining);
    for (const lease::QuotaHolding& holding : got.loaded->holdings) {
      const auto [seq, units] = last[{holding.agent_epoch, key}];
      EXPECT_GE(holding.last_seq, seq) << "an answer left before it was stored";
      for (const lease::Chunk& chunk : holding.chunks)
        EXPECT_TRUE(chunk.seq != seq || chunk.granted == units);
      last.erase({holding.agent_epoch, key});
    }
  }
  for (const auto& [who, what] : last)
    EXPECT_EQ(what.first, 0U) << "agent " << who.first << " was answered and is not known";
}

}  // namespace
}  // namespace weir::server::test
