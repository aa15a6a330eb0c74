// generate_instrumented CONFIG SANITIZER OUT.a: a library whose code a sanitizer watches.
#include <cstdio>

#include "generator/emit/generate.h"
#include "generator/spec/parse.h"
#include "tools/common/files.h"

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  try {
    const mha::Spec spec = mha::load_spec(argv[1]);
    mha::GenerateOptions options;
    options.sanitizer = argv[2];
    options.threads = 3;
    const mha::Generated generated = mha::generate(spec, options);
    mha::atomic_write_file(argv[3], generated.files.at("lib" + spec.name + ".a"));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
