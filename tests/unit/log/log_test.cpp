#include "daemon/log/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <cstdlib>
#include <string>

#include "tests/unit/log/pipe.h"

namespace weir {
namespace {

using testing::Ends;
using ::testing::HasSubstr;
using testing::lines_of;
using ::testing::MatchesRegex;

class Log : public ::testing::Test {
 protected:
  void start(LogFormat format, LogLevel level = LogLevel::info) {
    ASSERT_EQ(init_log({.level = level, .format = format, .fd = ends_.write.get()}), "");
  }
  void TearDown() override { ::unsetenv("JOURNAL_STREAM"); }

  std::string journal_stream_of(int fd) {
    struct stat status {};
    ::fstat(fd, &status);
    return std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino);
  }

  const Ends ends_ = testing::make_stream_socket();
};

constexpr const char* kTime = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}.[0-9]{3}Z";

TEST_F(Log, TextHasTimeLevelAndMessage) {
  start(LogFormat::text);

  spdlog::warn("{} of {}", 1, 2);

  const std::string text = ends_.read_all();
  EXPECT_THAT(text, MatchesRegex(std::string(kTime) + " warning 1 of 2\n"));
}

TEST_F(Log, JsonIsOneObjectALineWhateverTheMessage) {
  start(LogFormat::json);

  spdlog::error("a\"b\\c\nd\x1b[0m\xff {}", "}{");

  const std::string text = ends_.read_all();
  EXPECT_THAT(text, MatchesRegex("\\{\"time\":\"" + std::string(kTime) +
                                 R"(","level":"error","message":".*"\})" + "\n"));
  EXPECT_THAT(text, HasSubstr(R"("message":"a\"b\\c\nd\u001b[0m\ufffd }{"})"));
}

TEST_F(Log, TheJournalReadsTheLevelFromAPrefix) {
  start(LogFormat::journald, LogLevel::trace);

  spdlog::critical("c");
  spdlog::error("e");
  spdlog::warn("w");
  spdlog::info("i");
  spdlog::debug("d");
  spdlog::trace("t");

  EXPECT_EQ(ends_.read_all(), "<2>c\n<3>e\n<4>w\n<6>i\n<7>d\n<7>t\n");
}

TEST_F(Log, AMessageCannotForgeALine) {
  start(LogFormat::journald);

  spdlog::info("label {}", "x\n<0>the machine is on fire");

  EXPECT_EQ(ends_.read_all(), "<6>label x\\n<0>the machine is on fire\n");
}

TEST_F(Log, AutomaticMeansTheJournalOnlyOnItsOwnStream) {
  ::setenv("JOURNAL_STREAM", journal_stream_of(ends_.write.get()).c_str(), 1);
  start(LogFormat::automatic);
  spdlog::info("to the journal");
  EXPECT_EQ(ends_.read_all(), "<6>to the journal\n");

  for (const std::string& other : {journal_stream_of(ends_.read.get()), std::string("1:2:3"),
                                   std::string("x"), journal_stream_of(ends_.write.get()) + "0"}) {
    ::setenv("JOURNAL_STREAM", other.c_str(), 1);
    start(LogFormat::automatic);
    spdlog::info("elsewhere");
    EXPECT_THAT(ends_.read_all(), MatchesRegex(std::string(kTime) + " info    elsewhere\n"))
        << other;
  }
}

TEST_F(Log, ATerminalGetsColourUnlessAskedNotTo) {
  int primary = -1;
  int terminal = -1;
  if (::openpty(&primary, &terminal, nullptr, nullptr, nullptr) != 0) GTEST_SKIP() << "no pty here";
  const shm::Fd primary_end(primary);
  const shm::Fd terminal_end(terminal);
  ::setenv("TERM", "xterm", 1);
  const auto line = [&] {
    EXPECT_EQ(init_log({.fd = terminal}), "");
    spdlog::warn("message");
    std::array<char, 256> text{};
    const ssize_t bytes = ::read(primary, text.data(), text.size());
    return std::string(text.data(), bytes > 0 ? static_cast<std::size_t>(bytes) : 0);
  };

  ::unsetenv("NO_COLOR");
  EXPECT_THAT(line(), HasSubstr(" \x1b[33mwarning\x1b[0m message"));
  ::setenv("NO_COLOR", "1", 1);
  EXPECT_THAT(line(), HasSubstr("Z warning message"));
  ::unsetenv("NO_COLOR");
}

TEST_F(Log, LevelsBelowAreNotWritten) {
  start(LogFormat::journald, LogLevel::warning);
  spdlog::info("no");
  EXPECT_EQ(ends_.read_all(), "");

  set_log_level(LogLevel::debug);
  spdlog::debug("yes");
  EXPECT_EQ(ends_.read_all(), "<7>yes\n");
}

TEST_F(Log, ALongMessageIsCutAndStaysALine) {
  start(LogFormat::json);

  spdlog::info("{}", std::string(100'000, '\x01'));

  const std::string text = ends_.read_all();
  EXPECT_LE(text.size(), kLogLineBytesMax);
  EXPECT_TRUE(text.ends_with("\\u0001...\"}\n"));
}

// The reader of stderr hangs: the agent logs on, and the log says what is missing when it is read.
TEST_F(Log, DroppedMessagesAreCountedAndReported) {
  start(LogFormat::json);
  const std::string filler(4'000, 'x');
  constexpr int kMessages = 1'000;

  for (int i = 0; i < kMessages; ++i)
    spdlog::info("{} {}", i, filler);

  const LogStats stuck = log_stats();
  EXPECT_EQ(stuck.lines_total, 1'000U);
  EXPECT_GT(stuck.dropped_total, 0U);
  EXPECT_LE(stuck.waiting_bytes, kLogBufferBytes + 32U * 1024);
  std::string text;
  while (log_stats().waiting_bytes != 0) {
    text += ends_.read_all();
    pump_log();
  }
  text += ends_.read_all();
  EXPECT_THAT(text, HasSubstr("\"level\":\"warning\",\"message\":\"" +
                              std::to_string(stuck.dropped_total) + " messages dropped here"));
  EXPECT_EQ(lines_of(text).size(), kMessages - stuck.dropped_total + 1);
  EXPECT_TRUE(flush_log(0));
}

TEST_F(Log, AClosedDescriptorIsRefusedWithAReason) {
  EXPECT_THAT(init_log({.fd = 1'000'000}), HasSubstr("not open"));
}

TEST(LogWords, LevelsAndFormatsAreReadFromTheirNames) {
  EXPECT_EQ(parse_log_level("debug"), LogLevel::debug);
  EXPECT_EQ(parse_log_level("warn"), LogLevel::warning);
  EXPECT_EQ(parse_log_level("Loud"), std::nullopt);
  EXPECT_EQ(parse_log_format("auto"), LogFormat::automatic);
  EXPECT_EQ(parse_log_format("journald"), LogFormat::journald);
  EXPECT_EQ(parse_log_format("xml"), std::nullopt);
}

}  // namespace
}  // namespace weir
