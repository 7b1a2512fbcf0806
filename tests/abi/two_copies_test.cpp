// Two plugins of one process may each bring a libweir. Both must work, and neither may end up in
// the other's code or memory, even where every symbol is global.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include "tests/abi/running_agent.h"
#include "weir/weir.h"

namespace weir::abi_test {
namespace {

// One copy, by its own file, so that the loader cannot take one for the other.
class Copy {
 public:
  Copy(const std::string& dir, const std::string& name) {
    const std::string path = dir + "/" + name;
    std::filesystem::copy_file(WEIR_LIBRARY, path);
    library_ = ::dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
    EXPECT_NE(library_, nullptr) << ::dlerror();
  }
  template <class Function>
  Function* get(const char* name) const {
    void* symbol = ::dlsym(library_, name);
    EXPECT_NE(symbol, nullptr) << name;
    return reinterpret_cast<Function*>(symbol);
  }
  void open(const std::string& socket) {
    weir_options options{};
    options.struct_bytes = sizeof(options);
    options.socket_path = socket.c_str();
    options.require_agent = 1;
    options.connect_timeout_ms = kAttachTimeoutMs;
    ASSERT_EQ(get<decltype(weir_open)>("weir_open")(&options, &client_), WEIR_OK);
  }
  void close() { get<decltype(weir_close)>("weir_close")(client_); }
  weir_status state() const {
    return get<decltype(weir_client_state)>("weir_client_state")(client_);
  }
  std::uint64_t take(const char* name, std::uint64_t at_most) {
    weir_limit_options closed{};
    closed.struct_bytes = sizeof(closed);
    closed.mode = WEIR_MODE_CLOSED;
    weir_limit* limit = nullptr;
    EXPECT_EQ(get<decltype(weir_limit_get)>("weir_limit_get")(client_, name, &closed, &limit),
              WEIR_OK);
    std::uint64_t taken = 0;
    const auto acquire = get<decltype(weir_try_acquire)>("weir_try_acquire");
    while (taken < at_most && acquire(limit, 1) == WEIR_ALLOW)
      ++taken;
    return taken;
  }

 private:
  void* library_ = nullptr;
  weir_client* client_ = nullptr;
};

class TwoCopies : public WithAgent {};

TEST_F(TwoCopies, SpendFromOneBucketAndDoNotMeetElsewhere) {
  RunningAgent agent("  - {name: spend, rate: 1/h, burst: 20}\n");
  Copy first(agent.dir(), "libweir_first.so");
  Copy second(agent.dir(), "libweir_second.so");
  ASSERT_NE(first.get<void()>("weir_open"), second.get<void()>("weir_open"));
  first.open(agent.socket());
  second.open(agent.socket());
  if (HasFatalFailure()) FAIL() << agent.log();

  EXPECT_EQ(first.take("spend", 7), 7U);
  EXPECT_EQ(second.take("spend", 5), 5U);
  EXPECT_EQ(first.take("spend", 100), 8U) << "not one bucket of 20";
  EXPECT_EQ(second.take("spend", 100), 0U);

  // Each copy keeps its own list for its own fork handler.
  const pid_t child = ::fork();
  if (child == 0) ::_exit(first.take("spend", 1) + second.take("spend", 1) == 0 ? 0 : 1);
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;

  first.close();
  EXPECT_EQ(second.state(), WEIR_OK) << "one copy's end took the other's connection";
  EXPECT_EQ(second.take("spend", 1), 0U);
  second.close();
}

}  // namespace
}  // namespace weir::abi_test
