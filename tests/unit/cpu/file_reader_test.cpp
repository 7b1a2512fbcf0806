#include "agent/cpu/file_reader.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "agent/cpu/sampler.h"

namespace weir::agent {
namespace {

class SystemFiles : public testing::Test {
 protected:
  SystemFiles() {
    std::string name = testing::TempDir() + "weir_file_reader_XXXXXX";
    if (::mkdtemp(name.data()) != nullptr) folder_ = name;
  }
  ~SystemFiles() override {
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
  }

  std::string write(const std::string& text) {
    const std::string path = folder_ + "/file";
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }

  std::string folder_;
  // On the heap, as it is too large for a stack.
  std::unique_ptr<SystemFileReader> reader_ = std::make_unique<SystemFileReader>();
};

TEST_F(SystemFiles, ReadsAWholeFile) {
  EXPECT_EQ(reader_->read(write("some text\n").c_str()), "some text\n");
}

TEST_F(SystemFiles, TellsAnEmptyFileFromNone) {
  EXPECT_EQ(reader_->read(write("").c_str()), "");
  EXPECT_FALSE(reader_->read((folder_ + "/none").c_str()));
  EXPECT_FALSE(reader_->read(folder_.c_str()));  // a directory
  EXPECT_FALSE(reader_->read(""));
}

TEST_F(SystemFiles, CutsALongFileAfterAWholeLine) {
  std::string text;
  while (text.size() < 3 * SystemFileReader::kFileBytesMax)
    text += "nr_periods 12345\n";

  const auto read = reader_->read(write(text).c_str());

  ASSERT_TRUE(read);
  EXPECT_LE(read->size(), SystemFileReader::kFileBytesMax);
  EXPECT_GT(read->size(), SystemFileReader::kFileBytesMax - 100);
  EXPECT_TRUE(read->ends_with("\nnr_periods 12345\n"));
}

TEST_F(SystemFiles, RefusesALongFileWithoutLines) {
  const std::string text(2 * SystemFileReader::kFileBytesMax, '7');

  EXPECT_FALSE(reader_->read(write(text).c_str()));
}

TEST_F(SystemFiles, IsNotHeldUpByAFifo) {
  const std::string path = folder_ + "/fifo";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);

  EXPECT_EQ(reader_->read(path.c_str()).value_or(""), "");
}

TEST_F(SystemFiles, LeavesNoDescriptorOpen) {
  const int before = ::dup(0);
  ASSERT_GE(before, 0);
  ::close(before);

  for (int i = 0; i < 100; ++i)
    reader_->read("/proc/stat");

  const int after = ::dup(0);
  ::close(after);
  EXPECT_EQ(after, before);  // dup gives the lowest number that is free
}

TEST_F(SystemFiles, FeedTheSamplerOnTheMachineOfTheTest) {
  if (!reader_->read("/proc/stat")) GTEST_SKIP() << "/proc/stat cannot be read here";
  CpuSampler sampler(*reader_);

  const CpuSample& sample = sampler.sample(1'000'000'000, affinity_cpu_count());

  EXPECT_EQ(sample.blind, CpuBlind::first_sample);
  EXPECT_GE(sample.online_cpu_count.value_or(0), 1u);
  EXPECT_GE(sample.affinity_cpu_count.value_or(0), 1u);
  EXPECT_GE(sample.capacity_millicpus.value_or(0), 1u);
}

}  // namespace
}  // namespace weir::agent
