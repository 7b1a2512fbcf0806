// A token server in the test's own loop.
#pragma once

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "rules/parse.h"
#include "server/token_server.h"
#include "tests/unit/server/raw_agent.h"

namespace weir::server {

class ServerTest : public testing::Test {
 protected:
  ServerTest() {
    char name[] = "/tmp/weir-server-XXXXXX";
    dir_ = ::mkdtemp(name);
  }
  ~ServerTest() override {
    server_.reset();
    std::filesystem::remove_all(dir_);
  }

  static ServerRules parsed(const std::string& text) {
    auto result = parse_server_rules(text, "server.yaml");
    for (const Problem& problem : result.problems)
      ADD_FAILURE() << to_string(problem);
    return result.ok() ? *result.rules : ServerRules{};
  }
  // The shortest leases there are, so that learning takes about a second.
  std::string file(const std::string& limits, const std::string& more = {}) const {
    return "version: 1\nlisten: 127.0.0.1:0\nhttp: off\nlease: {ttl: 1s, tail: 0s, refresh: "
           "100ms}\nstate_dir: " +
           dir_ + "/state\nnamespaces:\n  shop:\n    tokens: ['" + kTokenHash +
           "']\n    limits: [" + limits + "]\n" + more;
  }
  bool start(const std::string& text) {
    server_ = std::make_unique<TokenServer>(
        io, ServerOptions{.name = "s1", .version = "0", .reconnect_ns = 0});
    const StartResult started = server_->start(parsed(text));
    EXPECT_EQ(started.error, "");
    if (!started) return false;
    address_ = server_->addresses().at(0);
    return true;
  }
  RawAgent agent(const std::string& host = "web-1", std::uint64_t epoch = 1) {
    return RawAgent(io, address_, host, epoch);
  }
  SpaceStatus shop() const { return server_->status().spaces.at(0); }
  bool learned() {
    return run_until(io, [&] { return !shop().learning; });
  }

  boost::asio::io_context io;
  std::string dir_;
  std::string address_;
  std::unique_ptr<TokenServer> server_;
};

}  // namespace weir::server
