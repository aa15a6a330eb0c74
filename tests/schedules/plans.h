// Plans and schedules for the tests of this folder.
#ifndef MHA_TESTS_SCHEDULES_PLANS_H_
#define MHA_TESTS_SCHEDULES_PLANS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "generator/ir/plan.h"
#include "schedules/schedule.h"

namespace mha {

// The plan of a config given as text. Throws std::runtime_error with the messages when there is
// none.
Plan plan_of(const std::string& config);

// Every config that the project ships, by its path.
std::map<std::string, Plan> shipped_plans();

// A config within what this version builds, of sizes that fit registers badly more often than not.
// nullopt: it asks for a tensor that is too large.
std::optional<std::string> random_config(std::mt19937_64& random);

// MHA_TEST_SEED, else a fixed number.
uint64_t test_seed();

Machine machine_named(const std::string& target);
std::vector<Machine> named_machines();

// The schedule with one parameter changed.
Schedule with(Schedule schedule, const std::string& stage, const std::string& param, int64_t value);

}  // namespace mha

#endif  // MHA_TESTS_SCHEDULES_PLANS_H_
