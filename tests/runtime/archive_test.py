"""What libmha.a promises to those who link it: plain C, its own names, no printing, small."""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

# Everything that would print, end the process or need the C++ library.
FORBIDDEN = re.compile(
    r"^(_Z|__cxa_|__gxx_|_Unwind|std)|^(abort|exit|_exit|quick_exit|__assert_fail|printf|fprintf|puts|putchar"
    r"|vprintf|vfprintf|fputs|fwrite|perror|__printf_chk|__fprintf_chk|stdout|stderr|raise|kill)$")
MAX_BYTES = 300_000

PROGRAM = r"""
#include <mha/kernel.h>
#include <mha/mha.h>
int main(void) {
  mha_context_options options = {0};
  mha_context* context = 0;
  mha_safetensors* file = 0;
  mha_weights* weights = 0;
  options.size = sizeof options;
  options.threads = 2;
  if (mha_context_create(&options, &context) != MHA_OK) return 1;
  if (mha_run(0, context, 0) != MHA_INVALID_ARGUMENT) return 2;
  if (mha_weights_load(0, "", 0, &weights) != MHA_INVALID_ARGUMENT) return 3;
  if (mha_safetensors_open("/nonexistent", &file) != MHA_IO_ERROR) return 4;
  if (mha_last_message()[0] == 0) return 5;
  mha_context_destroy(context);
  return 0;
}
"""


def run(*command):
    return subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True).stdout


def main():
    parser = argparse.ArgumentParser()
    for name in ("archive", "nm", "cc", "source"):
        parser.add_argument("--" + name, required=True)
    options = parser.parse_args()
    problems = []

    defined, needed = set(), set()
    for line in run(options.nm, "-g", options.archive).splitlines():
        fields = line.split()
        if len(fields) == 2 and fields[0] in "Uwv":
            needed.add(fields[1])
        elif len(fields) == 3:
            defined.add(fields[2])
    problems += [f"exports {name}" for name in sorted(defined) if not name.startswith("mha_")]
    needed -= defined
    problems += [f"needs {name}" for name in sorted(needed) if FORBIDDEN.search(name)]
    if not {"mha_run", "mha_context_create", "mha_halide_malloc"} <= defined:
        problems.append(f"nm shows only {len(defined)} symbols of {options.archive}")

    with tempfile.TemporaryDirectory() as folder:
        stripped = pathlib.Path(folder, "stripped.a")
        run("strip", "--strip-debug", "-o", stripped, options.archive)
        if stripped.stat().st_size >= MAX_BYTES:
            problems.append(f"has {stripped.stat().st_size} bytes; the limit is {MAX_BYTES}")

        program = pathlib.Path(folder, "program.c")
        program.write_text(PROGRAM)
        binary = pathlib.Path(folder, "program")
        # Also pedantic C11, as the headers are for any C compiler. -l:... would hide what else is needed.
        run(options.cc, "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror",
            "-I" + options.source + "/runtime/include", program, options.archive, "-o", binary, "-pthread",
            "-lm", "-ldl")
        run(binary)
        libraries = run("ldd", binary)
        if "libstdc++" in libraries or "libgcc_s" in libraries:
            problems.append("a C program that links it needs the C++ library:\n" + libraries)

    for problem in problems:
        print(f"{os.path.basename(options.archive)} {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
