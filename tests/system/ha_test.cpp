// Several servers on etcd, with real processes: who owns a namespace when its owner dies, freezes,
// or cannot hear etcd, and what agents are told meanwhile.
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <memory>

#include "tests/support/etcd.h"

#ifndef WEIR_SERVER_PROGRAM
#error "the build names the program"
#endif

namespace weir::test {
namespace {

constexpr int kServers = 3;

class HaTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = etcd_missing(); !why.empty()) GTEST_SKIP() << why;
    etcd_ = std::make_unique<EtcdCluster>(3);
    for (int i = 0; i < kServers; ++i) {
      ports_.push_back(free_tcp_port());
      write_file(i);
      servers_.push_back(start(i));
    }
  }

  std::string name(int i) const { return "s" + std::to_string(i); }
  std::string log(int i) const { return read_text(place_ / (name(i) + ".log")); }

  void write_file(int i) {
    std::string endpoints;
    for (const std::string& each : etcd_->endpoints())
      endpoints += (endpoints.empty() ? "" : ", ") + each;
    write_text(place_ / (name(i) + ".yaml"),
               "version: 1\nlisten: 127.0.0.1:" + std::to_string(ports_.back()) +
                   "\nhttp: off\nstate_dir: " + (place_ / name(i)) + "\netcd: {endpoints: [" +
                   endpoints +
                   "], rebalance: off}\nnamespaces: {default: {limits: [{name: /api, rate: "
                   "1000/s}]}}\n");
  }

  Process start(int i) {
    SpawnOptions options;
    options.argv = {WEIR_SERVER_PROGRAM, "--config", place_ / (name(i) + ".yaml"), "--name",
                    name(i)};
    options.output = place_ / (name(i) + ".log");
    return Process::spawn(options);
  }

  struct Owner {
    int server = -1;
    std::int64_t revision = 0;  // that created the key: the term
  };
  Owner owner() const {
    const std::string text = etcd_->ctl("get /weir/cluster/owner/default -w fields");
    Owner found;
    const std::string created = "\"CreateRevision\" : ";
    if (const auto at = text.find(created); at != std::string::npos)
      found.revision = std::strtoll(text.c_str() + at + created.size(), nullptr, 10);
    const std::string value = "\"Value\" : \"s";
    if (const auto at = text.find(value); at != std::string::npos)
      found.server = text[at + value.size()] - '0';
    return found;
  }
  Owner await_owner(std::int64_t after = 0) const {
    Owner found;
    eventually([&] {
      found = owner();
      return found.server >= 0 && found.revision > after;
    });
    return found;
  }
  // Of its log: how often the namespace became this server's.
  int terms(int i) const {
    const std::string text = log(i);
    int count = 0;
    for (std::size_t at = 0; (at = text.find("ours from now on", at)) != std::string::npos; ++at)
      ++count;
    return count;
  }

  TempDir place_;
  std::unique_ptr<EtcdCluster> etcd_;
  std::vector<std::uint16_t> ports_;
  std::vector<Process> servers_;
};

TEST_F(HaTest, OneServerOwnsTheNamespaceAndAnotherOneWhenItIsKilled) {
  const Owner first = await_owner();
  ASSERT_GE(first.server, 0) << log(0);
  ASSERT_TRUE(eventually([&] { return terms(first.server) == 1; })) << log(first.server);

  servers_[static_cast<std::size_t>(first.server)].kill9();
  const Owner second = await_owner(first.revision);

  ASSERT_GE(second.server, 0);
  EXPECT_NE(second.server, first.server);
  EXPECT_TRUE(eventually([&] { return terms(second.server) == 1; })) << log(second.server);
}

TEST_F(HaTest, AServerThatStopsGivesUpWhatItOwnsAtOnce) {
  const Owner first = await_owner();
  ASSERT_GE(first.server, 0) << log(0);
  Process& owner_process = servers_[static_cast<std::size_t>(first.server)];

  owner_process.signal(SIGTERM);

  EXPECT_EQ(owner_process.exit_code(), 0);
  EXPECT_GT(await_owner(first.revision).revision, first.revision);
}

// It wakes up, and finds that its time was over before it says anything.
TEST_F(HaTest, AFrozenOwnerIsReplacedAndKnowsItWhenItWakesUp) {
  const Owner first = await_owner();
  ASSERT_GE(first.server, 0) << log(0);
  Process& frozen = servers_[static_cast<std::size_t>(first.server)];

  frozen.signal(SIGSTOP);
  const Owner second = await_owner(first.revision);
  frozen.signal(SIGCONT);

  EXPECT_NE(second.server, first.server);
  EXPECT_TRUE(eventually([&] {
    return log(first.server).find("not ours any more") != std::string::npos;
  })) << log(first.server);
  EXPECT_EQ(terms(first.server), 1);
  EXPECT_EQ(owner().revision, second.revision);
}

// Nobody can own anything without a quorum, and nobody need: when it is back within the life of
// the lease that etcd extends, the owner goes on with its term.
TEST_F(HaTest, WithoutAQuorumTheOwnerFallsSilentAndGoesOnAfterwards) {
  const Owner first = await_owner();
  ASSERT_GE(first.server, 0) << log(0);
  for (const int member : {0, 1, 2})
    etcd_->member(member).signal(SIGSTOP);

  EXPECT_TRUE(eventually([&] {
    return log(first.server).find("nothing is granted") != std::string::npos;
  })) << log(first.server);

  for (const int member : {0, 1, 2})
    etcd_->member(member).signal(SIGCONT);
  const Owner after = await_owner();
  EXPECT_TRUE(eventually([&] {
    const std::string text = log(first.server);
    return text.find("heard again") != std::string::npos ||
           text.find("not ours any more") != std::string::npos;
  })) << log(first.server);
  EXPECT_GE(after.revision, first.revision);
}

}  // namespace
}  // namespace weir::test
