#include "daemon/watch/file_watch.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/asio/steady_timer.hpp>
#include <filesystem>
#include <fstream>

#include "tests/support/process.h"

namespace weir {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

void write(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }

struct Watched : ::testing::Test {
  test::TempDir dir;
  fs::path file = fs::path(dir.path()) / "rules.yaml";
  boost::asio::io_context io;
  FileWatch watch{io};
  int calls = 0;

  void SetUp() override {
    write(file, "a");
    ASSERT_EQ(watch.start(file.string(), [this] { ++calls; }), "");
  }
  // Until the watch has called `wanted` times. A watch that never calls is stopped by a patience
  // that a busy machine does not reach.
  void run_until(int wanted, std::chrono::milliseconds patience = 20s) {
    const auto until = std::chrono::steady_clock::now() + patience;
    while (calls < wanted && std::chrono::steady_clock::now() < until)
      io.run_one_for(50ms);
  }
};

TEST_F(Watched, TellsOfAWriteOnce) {
  write(file, "b");
  write(file, "c");
  run_until(1);
  EXPECT_EQ(calls, 1);
  run_until(2, 3 * FileWatch::kSettle);
  EXPECT_EQ(calls, 1) << "two writes in one go are one change";
}

TEST_F(Watched, TellsOfAReplacedFileAgainAndAgain) {
  for (int round = 1; round <= 3; ++round) {
    const fs::path next = fs::path(dir.path()) / "next";
    write(next, std::to_string(round));
    fs::rename(next, file);
    run_until(round);
    ASSERT_EQ(calls, round);
  }
}

TEST_F(Watched, OtherFilesOfTheDirectoryDoNotCount) {
  write(fs::path(dir.path()) / "rules.yaml.swp", "x");
  write(fs::path(dir.path()) / "rules", "x");
  run_until(1, 3 * FileWatch::kSettle);
  EXPECT_EQ(calls, 0);
}

TEST_F(Watched, NothingIsToldAfterTheStop) {
  write(file, "b");
  io.run_one_for(1s);  // the event is read and the call is due
  watch.stop();
  run_until(1, 3 * FileWatch::kSettle);
  EXPECT_EQ(calls, 0);
}

TEST(FileWatch, ADirectoryThatIsNotThereIsNamed) {
  boost::asio::io_context io;
  FileWatch watch(io);
  const std::string problem = watch.start("/nonexistent/weir/rules.yaml", [] {});
  EXPECT_EQ(problem, "cannot watch /nonexistent/weir for changes: No such file or directory");
  watch.stop();
}

}  // namespace
}  // namespace weir
