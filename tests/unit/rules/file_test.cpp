#include "rules/file.h"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "tests/unit/rules/testing.h"

namespace weir {
namespace {

class LoadRules : public testing::Test {
 protected:
  LoadRules() {
    std::string pattern = testing::TempDir() + "weir-config-XXXXXX";
    dir_ = ::mkdtemp(pattern.data());
  }
  ~LoadRules() override { std::filesystem::remove_all(dir_); }

  std::string write(const std::string& name, std::string_view text) const {
    std::ofstream{dir_ + "/" + name, std::ios::binary} << text;
    return dir_ + "/" + name;
  }

  std::string dir_;
};

TEST_F(LoadRules, NamesTheFileInEachProblem) {
  const std::string path = write("rules.yaml", "version: 2\n");

  const ParseResult result = load_rules_file(path);

  EXPECT_EQ(first_problem(result), path + ":1:10: version '2' is not known; allowed: 1");
}

TEST_F(LoadRules, SaysWhyAFileCannotBeRead) {
  EXPECT_EQ(first_problem(load_rules_file(dir_ + "/none.yaml")),
            dir_ + "/none.yaml: the file cannot be opened: No such file or directory");
  EXPECT_EQ(first_problem(load_rules_file(dir_)),
            dir_ + ": the file is a directory; a file is needed");
  EXPECT_EQ(first_problem(load_rules_file("/dev/null")),
            "/dev/null: the file is not a regular file");
  EXPECT_EQ(first_problem(load_rules_file("")), ": the file has no valid name");
}

TEST_F(LoadRules, DoesNotWaitForTheWriterOfAPipe) {
  const std::string path = dir_ + "/pipe";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);

  EXPECT_EQ(first_problem(load_rules_file(path)), path + ": the file is not a regular file");
}

TEST_F(LoadRules, AnUnreadableFileIsSaidToBeUnreadable) {
  const std::string path = write("secret.yaml", "version: 1\n");
  ASSERT_EQ(::chmod(path.c_str(), 0), 0);
  // Root may read everything, so it looks as nobody.
  constexpr uid_t kNobody = 65534;
  const bool root = ::geteuid() == 0;
  if (root && ::seteuid(kNobody) != 0) GTEST_SKIP() << "this root cannot become nobody";

  const std::string problem = first_problem(load_rules_file(path));

  ASSERT_EQ(root ? ::seteuid(0) : 0, 0);
  EXPECT_EQ(problem, path + ": the file cannot be opened: Permission denied");
}

TEST_F(LoadRules, AFileThatIsTooLargeIsNotReadToItsEnd) {
  const std::string path = write("large.yaml", "");
  std::filesystem::resize_file(path, std::uintmax_t{1} << 34);

  EXPECT_THAT(first_problem(load_rules_file(path)), testing::HasSubstr("is larger than 4194304"));
}

}  // namespace
}  // namespace weir
