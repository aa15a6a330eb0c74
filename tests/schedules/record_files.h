// Tests that write files of records and read them back.
#ifndef MHA_TESTS_SCHEDULES_RECORD_FILES_H_
#define MHA_TESTS_SCHEDULES_RECORD_FILES_H_

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/schedules/plans.h"

namespace mha {

// Has a folder of its own, with zen5.yaml in it once that is written.
class RecordFiles : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "mha_records_XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string path() const { return folder_ + "/zen5.yaml"; }
  void write(const std::string& text) const { std::ofstream(path()) << text; }

  const Machine zen5_ = machine_named("zen5");
  std::string folder_;
};

}  // namespace mha

#endif  // MHA_TESTS_SCHEDULES_RECORD_FILES_H_
