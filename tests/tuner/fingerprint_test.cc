#include "schedules/tuner/fingerprint.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <random>
#include <stdexcept>

#include "schedules/machine.h"

namespace mha {
namespace {

TEST(Fingerprint, ReadsBackWhatItWrites) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 1000; ++i) {
    Fingerprint f;
    f.cpu = "Vendor" + std::to_string(random() % 100) + " " + std::to_string(random() % 300) + "/" +
            std::to_string(random() % 300) + "/" + std::to_string(random() % 16);
    f.cpu_features = random() >> (random() % 64);
    f.l1d_bytes = static_cast<int64_t>(random() >> 1 >> (random() % 63));
    f.l2_bytes = static_cast<int64_t>(random() % (1 << 24));
    f.l3_bytes = static_cast<int64_t>(random() % 2 * (32 << 20));
    f.threads = static_cast<int>(1 + random() % 1024);
    EXPECT_EQ(parse_fingerprint(f.text()), f) << f.text();
  }
}

TEST(Fingerprint, RefusesEverythingElse) {
  const std::string good = "A 1/2/3 features=0xf l1d=1 l2=2 l3=3 threads=4";
  EXPECT_NO_THROW(parse_fingerprint(good));
  for (const std::string& text :
       {std::string(), std::string("A"), good + " ", " " + good, good + "x", good + "\n",
        std::string("A  1/2/3 features=0xf l1d=1 l2=2 l3=3 threads=4"),
        std::string("A 1/2/3 features=0x0f l1d=1 l2=2 l3=3 threads=4"),
        std::string("A 1/2/3 features=0xf l1d=1 l2=2 l3=3 threads=0"),
        std::string("A 1/2/3 features=0xf l1d=-1 l2=2 l3=3 threads=4"),
        std::string("A 1/2 features=0xf l1d=1 l2=2 l3=3 threads=4"),
        std::string("A 1/2/3/ features=0xf l1d=1 l2=2 l3=3 threads=4"),
        std::string("A 1/2/3 features=0xf l1d=1 l2=2 l3=3 threads=99999999999"),
        std::string(1000, 'A') + " 1/2/3 features=0xf l1d=1 l2=2 l3=3 threads=4"}) {
    EXPECT_THROW(parse_fingerprint(text), std::invalid_argument) << text;
  }
}

TEST(Fingerprint, AgreesWithTheMachineThatSchedulesAreMadeFor) {
  const Fingerprint f = fingerprint();
  const Machine host = host_machine();
  EXPECT_EQ(parse_fingerprint(f.text()), f);
  EXPECT_EQ(f.cpu_features & host.cpu_features, host.cpu_features);
  EXPECT_GE(f.threads, 1);
  // Where the system says nothing of a cache, the table of targets still does.
  if (f.l1d_bytes > 0) {
    EXPECT_EQ(f.l1d_bytes, host.l1d_bytes);
  }
  if (f.l2_bytes > 0) {
    EXPECT_EQ(f.l2_bytes, host.l2_bytes);
  }
  if (f.l3_bytes > 0) {
    EXPECT_EQ(f.l3_bytes, host.l3_bytes);
  }
  for (char c : f.text()) EXPECT_TRUE(c >= ' ' && c < 127);
}

// A search that is pinned to a CPU measures on the same machine as one that is not.
TEST(Fingerprint, DoesNotDependOnWhichCpusTheProcessMayUse) {
  const std::string before = fingerprint().text();
  cpu_set_t all, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof all, &all), 0);
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &all)) continue;
    CPU_SET(cpu, &one);
    break;
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  const std::string pinned = fingerprint().text();
  ASSERT_EQ(sched_setaffinity(0, sizeof all, &all), 0);
  EXPECT_EQ(pinned, before);
}

}  // namespace
}  // namespace mha
