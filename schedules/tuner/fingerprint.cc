#include "schedules/tuner/fingerprint.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cctype>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "mha/kernel.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace mha {
namespace {

// A name that others chose, as one word that text() can hold.
std::string word(const std::string& name) {
  std::string text;
  for (char c : name) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.';
    text += plain ? c : '-';
  }
  return text.empty() ? "unknown" : text;
}

std::string read_cpu() {
#if defined(__x86_64__)
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(0, &a, &b, &c, &d)) {
    char vendor[13] = {};
    std::memcpy(vendor, &b, 4);
    std::memcpy(vendor + 4, &d, 4);
    std::memcpy(vendor + 8, &c, 4);
    if (__get_cpuid(1, &a, &b, &c, &d)) {
      uint32_t family = (a >> 8) & 15, model = (a >> 4) & 15;
      if (family == 15 || family == 6) model += ((a >> 16) & 15) << 4;
      if (family == 15) family += (a >> 20) & 255;
      return word(vendor) + " " + std::to_string(family) + "/" + std::to_string(model) + "/" +
             std::to_string(a & 15);
    }
  }
#endif
  utsname system = {};
  return word(uname(&system) == 0 ? system.machine : "") + " 0/0/0";
}

// The first word of a file of the kernel's; empty when it cannot be read.
std::string read_word(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "re");
  if (file == nullptr) return "";
  char text[64] = {};
  const int read = std::fscanf(file, "%63s", text);
  std::fclose(file);
  return read == 1 ? text : "";
}

// As host_machine() (schedules/machine.h) reads them: Linux' own account first, because sysconf(3)
// multiplies the last level of some AMD parts by the cores that do not share it.
void read_caches(Fingerprint* f) {
  const std::array<int64_t*, 3> levels = {&f->l1d_bytes, &f->l2_bytes, &f->l3_bytes};
  const std::array<int, 3> names = {_SC_LEVEL1_DCACHE_SIZE, _SC_LEVEL2_CACHE_SIZE,
                                    _SC_LEVEL3_CACHE_SIZE};
  bool listed = false;
  for (int index = 0; index < 16; ++index) {
    const std::string folder =
        "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
    const int level = std::atoi(read_word(folder + "level").c_str());
    if (level < 1 || level > 3 || read_word(folder + "type") == "Instruction") continue;
    const std::string size = read_word(folder + "size");  // "48K"
    const int64_t kib = std::atoll(size.c_str());
    if (kib <= 0 || size.back() != 'K') continue;
    *levels[level - 1] = kib << 10;
    listed = true;
  }
  for (size_t i = 0; !listed && i < levels.size(); ++i) {
    const long value = sysconf(names[i]);
    if (value > 0) *levels[i] = value;
  }
}

}  // namespace

std::string Fingerprint::text() const {
  char rest[192];
  std::snprintf(rest, sizeof rest,
                " features=0x%" PRIx64 " l1d=%" PRId64 " l2=%" PRId64 " l3=%" PRId64 " threads=%d",
                cpu_features, l1d_bytes, l2_bytes, l3_bytes, threads);
  return cpu + rest;
}

Fingerprint fingerprint() {
  Fingerprint f;
  f.cpu = read_cpu();
  f.cpu_features = mha_cpu_features();
  read_caches(&f);
  f.threads = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  return f;
}

Fingerprint parse_fingerprint(const std::string& text) {
  Fingerprint f;
  char vendor[64] = {}, model[64] = {};
  const int fields = std::sscanf(text.c_str(),
                                 "%63[A-Za-z0-9_.-] %63[0-9/] features=0x%" SCNx64 " l1d=%" SCNd64
                                 " l2=%" SCNd64 " l3=%" SCNd64 " threads=%d",
                                 vendor, model, &f.cpu_features, &f.l1d_bytes, &f.l2_bytes,
                                 &f.l3_bytes, &f.threads);
  f.cpu = std::string(vendor) + " " + model;
  int family = 0, number = 0, stepping = 0, end = 0;
  const bool numbered =
      std::sscanf(model, "%d/%d/%d%n", &family, &number, &stepping, &end) == 3 && !model[end];
  // Only what text() writes: everything else would be a second name of the same machine.
  if (fields != 7 || !numbered || f.threads < 1 || f.l1d_bytes < 0 || f.l2_bytes < 0 ||
      f.l3_bytes < 0 || f.text() != text) {
    throw std::invalid_argument("no fingerprint of a machine: '" + text + "'");
  }
  return f;
}

}  // namespace mha
