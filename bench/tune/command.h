// The subcommands of mha_bench_tune.
#ifndef MHA_BENCH_TUNE_COMMAND_H_
#define MHA_BENCH_TUNE_COMMAND_H_

#include <CLI/CLI.hpp>
#include <memory>
#include <vector>

#include "tools/common/console.h"

namespace mha {

class BenchCommand {
 public:
  virtual ~BenchCommand() = default;
  virtual const char* name() const = 0;
  virtual const char* summary() const = 0;  // one sentence
  virtual void declare(CLI::App& app) = 0;  // its options
  // Returns the exit code: 1 where what must be reached was not.
  virtual int run(Console& console) = 0;
};

std::unique_ptr<BenchCommand> aa_command();
std::unique_ptr<BenchCommand> power_command();
std::unique_ptr<BenchCommand> exhaustive_command();

}  // namespace mha

#endif  // MHA_BENCH_TUNE_COMMAND_H_
