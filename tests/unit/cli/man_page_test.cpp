// weir(1) and the program speak of the same commands, options and JSON keys.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "agent/cli/app.h"
#include "agent/cli/resources.h"
#include "tests/unit/cli/fake_agent.h"

namespace weir::cli {
namespace {

// Without the backslashes by which roff keeps hyphens and underscores as they are.
std::string read_page(const std::string& name) {
  std::ifstream file{std::string{WEIR_SOURCE_DIR} + "/docs/man/" + name};
  std::ostringstream text;
  text << file.rdbuf();
  return std::regex_replace(text.str(), std::regex{R"(\\-)"}, "-");
}

std::set<std::string> commands_of_help() {
  std::istringstream help{run("", {"--help"}).out};
  std::set<std::string> names;
  bool below = false;
  for (std::string line; std::getline(help, line);) {
    if (line.starts_with("Subcommands:")) below = true;
    if (below && line.empty()) break;
    std::smatch found;
    if (below && std::regex_search(line, found, std::regex{"^  ([a-z]+) "})) names.insert(found[1]);
  }
  return names;
}

std::set<std::string> commands_of_page(const std::string& page) {
  std::set<std::string> names;
  const std::regex heading{R"re(\n\.SS "?weir ([a-z]+))re"};
  for (std::sregex_iterator found{page.begin(), page.end(), heading}, end; found != end; ++found)
    names.insert((*found)[1]);
  return names;
}

TEST(ManPage, DocumentsTheCommandsThatHelpLists) {
  const auto commands = commands_of_help();

  ASSERT_GE(commands.size(), 10U);
  EXPECT_EQ(commands, commands_of_page(read_page("weir.1")));
}

TEST(ManPage, DocumentsEveryOption) {
  const std::string page = read_page("weir.1");
  std::vector<std::vector<std::string>> helps{{"--help"}};
  for (const std::string& name : command_names())
    helps.push_back({name, "--help"});
  for (const char* name : {"check", "apply", "diff"})
    helps.push_back({"rules", name, "--help"});
  for (const auto& arguments : helps) {
    const std::string help = run("", arguments).out;
    const std::regex option{R"(\n  (?:-\w,)?(--[a-z-]+))"};
    for (std::sregex_iterator found{help.begin(), help.end(), option}, end; found != end; ++found)
      EXPECT_THAT(page, testing::HasSubstr((*found)[1].str()));
  }
}

TEST(ManPage, DocumentsEveryJsonKey) {
  const std::string page = read_page("weir.1");
  const std::vector<Json> objects{
      to_json(v1::StatusResponse{}), to_json(v1::DomainStatus{}),
      to_json(v1::CpuStatus{}),      to_json(v1::LimitStatus{}),
      to_json(v1::ClientStatus{}),   to_json(v1::ApplyResponse{}),
      to_json(v1::ResourceStatus{}), to_json(v1::DegradeStatus{}),
      to_json(v1::LoadStatus{}),     to_json(v1::ResourceStatus{})["breaker"]};
  for (const Json& object : objects)
    for (const auto& item : object.items())
      EXPECT_TRUE(std::regex_search(page, std::regex{"\\b" + item.key() + "\\b"})) << item.key();
}

TEST(ManPage, DocumentsEveryFunctionOfTheToolkit) {
  const std::string page = read_page("weir_toolkit.3");
  std::ifstream file{std::string{WEIR_SOURCE_DIR} + "/libclient/include/weir/toolkit.h"};
  std::ostringstream header;
  header << file.rdbuf();
  const std::string text = header.str();
  const std::regex function{R"(WEIR_API \w+ (weir_\w+)\()"};
  int count = 0;
  for (std::sregex_iterator found{text.begin(), text.end(), function}, end; found != end;
       ++found, ++count)
    EXPECT_THAT(page, testing::HasSubstr((*found)[1].str() + "("));
  EXPECT_GE(count, 20);
}

TEST(ManPage, DocumentsEveryExitCode) {
  const std::string page = read_page("weir.1");

  for (const char* code : {"0", "1", "2", "69", "75", "126", "127"})
    EXPECT_THAT(page, testing::HasSubstr(std::string{"\n.B "} + code + "\n"));
}

}  // namespace
}  // namespace weir::cli
