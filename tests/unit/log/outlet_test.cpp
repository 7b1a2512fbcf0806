#include "daemon/log/outlet.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/log/pipe.h"

namespace weir {
namespace {

using testing::Ends;
using testing::lines_of;

constexpr std::size_t kBufferBytes = 64U << 10;
constexpr std::size_t kLineBytesMax = 1024;

void gap_line(std::string& out, std::uint64_t dropped, void*) {
  out += "GAP " + std::to_string(dropped) + "\n";
}

LogOutlet make_outlet(const Ends& ends) {
  return {ends.write.get(), kBufferBytes, kLineBytesMax, gap_line, nullptr};
}

std::string numbered(int i) {
  std::string line = "line " + std::to_string(i) + " ";
  line.resize(100, '.');
  return line + '\n';
}

// More than a pipe and the buffer hold together.
constexpr int kManyLines = 5'000;

// Every line is whole, numbers only rise, and each gap says exactly how many are missing.
void expect_complete(const std::vector<std::string>& lines, int lines_total) {
  int expected = 0;
  for (const std::string& line : lines) {
    int number = 0;
    if (std::sscanf(line.c_str(), "GAP %d", &number) == 1) {
      expected += number;
    } else {
      ASSERT_EQ(line + "\n", numbered(expected));
      ++expected;
    }
  }
  EXPECT_EQ(expected, lines_total);
}

TEST(LogOutlet, ALineIsOutAtOnce) {
  const Ends ends = testing::make_pipe();
  LogOutlet outlet = make_outlet(ends);

  outlet.write_line("hello\n");

  EXPECT_EQ(ends.read_all(), "hello\n");
  EXPECT_EQ(outlet.waiting_bytes(), 0U);
}

// Nobody reads stderr: neither a write nor a pump may wait. If one did, this test would hang.
void stays_free_and_complete(const Ends& ends) {
  LogOutlet outlet = make_outlet(ends);

  for (int i = 0; i < kManyLines; ++i) {
    outlet.write_line(numbered(i));
    if (i % 100 == 0) outlet.pump();
  }
  EXPECT_GT(outlet.dropped_total(), 0U);
  EXPECT_LE(outlet.waiting_bytes(), kBufferBytes + 2 * kLineBytesMax + 4096);

  std::string text;
  for (bool done = false; !done;) {
    text += ends.read_all();
    done = outlet.pump();
  }
  text += ends.read_all();
  expect_complete(lines_of(text), kManyLines);
}

TEST(LogOutlet, AnUnreadPipeDropsTheOldestAndSaysHowMany) {
  stays_free_and_complete(testing::make_pipe());
}

TEST(LogOutlet, AnUnreadSocketDropsTheOldestAndSaysHowMany) {
  stays_free_and_complete(testing::make_stream_socket());
}

// Without the right to open the pipe again (here: the writing end of a fifo without a path to
// it) the shared description is asked before each write.
TEST(LogOutlet, APipeThatCannotBeOpenedAgainDoesNotWaitEither) {
  if (::geteuid() == 0) {
    // Root may open anything; taking the right away needs a process of its own.
    const pid_t child = ::fork();
    if (child == 0) {
      const Ends ends = testing::make_pipe();
      ::fchmod(ends.write.get(), 0);
      if (::setresuid(65'534, 65'534, 65'534) != 0) ::_exit(77);
      LogOutlet outlet = make_outlet(ends);
      for (int i = 0; i < kManyLines; ++i)
        outlet.write_line(numbered(i));
      const bool dropped = outlet.dropped_total() > 0;
      const bool shared = (::fcntl(ends.write.get(), F_GETFL) & O_NONBLOCK) == 0;
      ::_exit(dropped && shared ? 0 : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
    return;
  }
  const Ends ends = testing::make_pipe();
  ::fchmod(ends.write.get(), 0);
  stays_free_and_complete(ends);
}

// The description belongs to a shell or a supervisor too, which would meet EAGAIN.
TEST(LogOutlet, TheSharedDescriptionStaysBlocking) {
  const Ends ends = testing::make_pipe();
  LogOutlet outlet = make_outlet(ends);

  outlet.write_line("hello\n");

  EXPECT_EQ(::fcntl(ends.write.get(), F_GETFL) & O_NONBLOCK, 0);
}

TEST(LogOutlet, AfterARefusedWriteOnlyPumpTriesAgain) {
  const Ends ends = testing::make_pipe();
  LogOutlet outlet = make_outlet(ends);
  for (int i = 0; i < 1'000; ++i)
    outlet.write_line(numbered(i));
  ends.read_all();

  outlet.write_line(numbered(1'000));
  EXPECT_EQ(ends.read_all(), "");

  EXPECT_TRUE(outlet.pump());
  EXPECT_NE(ends.read_all(), "");
}

TEST(LogOutlet, AReaderThatLeftNeitherKillsNorStops) {
  ::signal(SIGPIPE, SIG_IGN);  // init_log() does this in the agent
  Ends ends = testing::make_pipe();
  LogOutlet outlet = make_outlet(ends);
  ends.read.reset();

  for (int i = 0; i < kManyLines; ++i)
    outlet.write_line(numbered(i));

  EXPECT_FALSE(outlet.pump());
  EXPECT_FALSE(outlet.flush(0));
  EXPECT_GT(outlet.dropped_total(), 0U);
}

TEST(LogOutlet, FlushWaitsForASlowReaderAndGivesUpInTime) {
  const Ends ends = testing::make_pipe();
  LogOutlet outlet = make_outlet(ends);
  for (int i = 0; i < 1'000; ++i)
    outlet.write_line(numbered(i));
  EXPECT_FALSE(outlet.flush(1));

  ::fcntl(ends.read.get(), F_SETFL, 0);
  std::string text;
  std::thread reader([&] {
    std::array<char, 4096> chunk{};
    while (text.size() < 1'000 * numbered(0).size()) {
      const ssize_t bytes = ::read(ends.read.get(), chunk.data(), chunk.size());
      if (bytes <= 0) return;
      text.append(chunk.data(), static_cast<std::size_t>(bytes));
    }
  });
  EXPECT_TRUE(outlet.flush(60'000));
  reader.join();

  expect_complete(lines_of(text), 1'000);
}

TEST(LogOutlet, AFileIsWrittenThroughItsOwnOffset) {
  std::string path = ::testing::TempDir() + "weir_log_XXXXXX";
  const shm::Fd file(::mkstemp(path.data()));
  ASSERT_EQ(::write(file.get(), "before\n", 7), 7);
  LogOutlet outlet(file.get(), kBufferBytes, kLineBytesMax, gap_line, nullptr);

  outlet.write_line("after\n");

  std::array<char, 64> text{};
  EXPECT_EQ(::pread(file.get(), text.data(), text.size(), 0), 13);
  EXPECT_STREQ(text.data(), "before\nafter\n");
  std::remove(path.c_str());
}

}  // namespace
}  // namespace weir
