// Which socket is meant: the nearest word wins.
#include "agent/cli/context.h"

#include <gtest/gtest.h>

#include <map>
#include <sstream>

namespace weir::cli {
namespace {

Paths resolve(const GlobalOptions& options, std::map<std::string, std::string> variables = {}) {
  return resolve_paths(options, [&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

TEST(Paths, DefaultToRun) {
  const Paths paths = resolve({});

  EXPECT_EQ(paths.admin_socket, "/run/weir/admin.sock");
  EXPECT_EQ(paths.attach_socket, "/run/weir/agent.sock");
}

TEST(Paths, FollowTheVariables) {
  const Paths paths = resolve({}, {{"WEIR_RUNTIME_DIR", "/a/"}, {"WEIR_SOCKET", "/b/s"}});

  EXPECT_EQ(paths.admin_socket, "/a/admin.sock");
  EXPECT_EQ(paths.attach_socket, "/b/s");
}

TEST(Paths, AnOptionBeatsTheVariables) {
  GlobalOptions options;
  options.runtime_dir = "/c";

  const Paths paths = resolve(options, {{"WEIR_RUNTIME_DIR", "/a"}, {"WEIR_SOCKET", "/b/s"}});

  EXPECT_EQ(paths.admin_socket, "/c/admin.sock");
  EXPECT_EQ(paths.attach_socket, "/c/agent.sock");
}

TEST(Paths, ASocketOptionBeatsEverything) {
  GlobalOptions options;
  options.runtime_dir = "/c";
  options.socket = "/d/s";

  EXPECT_EQ(resolve(options).attach_socket, "/d/s");
}

TEST(Paths, AnEmptyVariableIsNone) {
  EXPECT_EQ(resolve({}, {{"WEIR_SOCKET", ""}}).attach_socket, "/run/weir/agent.sock");
}

TEST(Context, StylesOnlyWithColor) {
  std::ostringstream out;
  Context context{out, out, {}, Output::table, false, true, {true}};
  EXPECT_EQ(context.styled(Style::bad, "x"), "x");

  context.color = true;

  EXPECT_EQ(context.styled(Style::bad, "x"), "\x1b[31mx\x1b[0m");
}

}  // namespace
}  // namespace weir::cli
