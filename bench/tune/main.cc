// ./dev bench tune: what the tuner promises, measured on this machine.
#include <memory>
#include <vector>

#include "bench/tune/command.h"
#include "tools/common/cli.h"

int main(int argc, char** argv) {
  using mha::BenchCommand;
  std::vector<std::unique_ptr<BenchCommand>> commands;
  commands.push_back(mha::aa_command());
  commands.push_back(mha::power_command());
  commands.push_back(mha::exhaustive_command());
  BenchCommand* chosen = nullptr;
  return mha::run_main(
      {"mha_bench_tune", "Measures what the tuner promises."}, argc, argv,
      [&](CLI::App& app) {
        app.require_subcommand(1);
        for (const auto& command : commands) {
          CLI::App* sub = app.add_subcommand(command->name(), command->summary());
          sub->fallthrough();  // --json and --quiet
          sub->callback([&chosen, command = command.get()] { chosen = command; });
          command->declare(*sub);
        }
      },
      [&](mha::Console& console) { return chosen->run(console); });
}
