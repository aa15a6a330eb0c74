// Where the tests find the model's files, which no repository holds.
#ifndef MHA_EXAMPLES_MINILM_TESTS_MODEL_FILES_H_
#define MHA_EXAMPLES_MINILM_TESTS_MODEL_FILES_H_

#include <string>

namespace mha::minilm {

// The folder: $MHA_MINILM_MODEL, else that of the Python package in .venv. Empty when there is
// none.
std::string model_folder();

// True when a missing model is a failure: $CI or $MHA_REQUIRE_MODEL is set.
bool model_required();

// A file of examples/minilm/tests.
std::string test_file(const std::string& name);

}  // namespace mha::minilm

// Sets `folder`, or skips the test, visibly; or fails it where the model has to be there.
#define MHA_NEED_MODEL(folder)                                                         \
  const std::string folder = ::mha::minilm::model_folder();                            \
  if (folder.empty()) {                                                                \
    if (::mha::minilm::model_required()) FAIL() << "the model package is missing";     \
    GTEST_SKIP() << "the model package is missing: ./dev test installs it into .venv"; \
  }

#endif  // MHA_EXAMPLES_MINILM_TESTS_MODEL_FILES_H_
