"""check_includes finds each kind of break in a small planted tree, and nothing in a good one."""

import os
import subprocess
import sys
import tempfile
import unittest

CHECK = os.path.join(os.path.dirname(__file__), "..", "..", "tools", "check_includes", "check_includes.py")

GUARDED = "#ifndef MHA_{0}_\n#define MHA_{0}_\n{1}#endif\n"
GOOD = {
    "generator/spec/spec.h": GUARDED.format("GENERATOR_SPEC_SPEC_H", "#include <string>\n"),
    "generator/spec/parse.cc": '#include <yaml-cpp/yaml.h>\n#include "generator/spec/spec.h"\n',
    "generator/ir/plan.h": GUARDED.format("GENERATOR_IR_PLAN_H", '#include "generator/spec/spec.h"\n'),
    "generator/ir/dialect.h": GUARDED.format("GENERATOR_IR_DIALECT_H", "#include <mlir/IR/Dialect.h>\n"),
    "generator/pipeline/program.h": GUARDED.format(
        "GENERATOR_PIPELINE_PROGRAM_H", '#include <Halide.h>\n#include "generator/ir/plan.h"\n'),
    "schedules/apply.cc": '#include "generator/pipeline/program.h"\n',
    "schedules/record.cc": "#include <yaml-cpp/yaml.h>\n",
    "generator/emit/emit.cc": '#include "schedules/schedule.h"\n#include <llvm/Object/Archive.h>\n',
    "schedules/schedule.h": GUARDED.format("SCHEDULES_SCHEDULE_H", ""),
    "runtime/include/mha/mha.h": GUARDED.format("MHA_H", "#include <stdint.h>\n"),
    "runtime/src/run.cc": '#include <atomic>\n#include <sys/mman.h>\n#include "HalideRuntime.h"\n#include "mha/mha.h"\n',
    "tools/mha-gen/main.cc": '#include "generator/spec/spec.h"\n#include "mha/mha.h"\n',
}
# A planted file -> a piece of the message that must name it.
BAD = [
    ("generator/spec/a.cc", '#include "generator/ir/plan.h"\n', "generator/spec/ may include nothing of ours"),
    ("generator/ir/a.cc", '#include "generator/pipeline/program.h"\n', "generator/ir/ may include"),
    ("generator/pipeline/a.cc", '#include "schedules/schedule.h"\n', "generator/pipeline/ may include"),
    ("generator/pipeline/b.cc", '#include "generator/ir/dialect.h"\n', "not generator/ir/dialect.h"),
    ("schedules/a.cc", '#include "generator/spec/parse.h"\n#include "generator/ir/dialect.h"\n', "MLIR is seen only"),
    ("schedules/b.cc", "#include <yaml-cpp/yaml.h>\n", "yaml-cpp is seen only"),
    ("tools/mha-run/a.cc", "  #  include <Halide.h>\n", "Halide is seen only"),
    ("tools/mha-run/b.cc", '#include "generator/pipeline/program.h"\n', "which leads to it"),
    ("tools/mha-run/c.cc", "#include <llvm/ADT/StringRef.h>\n", "LLVM is seen only"),
    ("runtime/src/a.cc", '#include "generator/spec/spec.h"\n', "runtime/ may include"),
    ("runtime/src/b.cc", "#include <vector>\n", "lives on libc alone"),
    ("runtime/src/c.cc", "#include <fmt/format.h>\n", "lives on libc alone"),
    ("schedules/guard.h", "#ifndef WRONG\n#define WRONG\n#endif\n", "include guard should be MHA_SCHEDULES_GUARD_H_"),
    ("docs/a.md", "see /ro" "ot/project/build\n", "a path of some build machine"),
]


def run_check(files):
    with tempfile.TemporaryDirectory() as root:
        for path, text in files.items():
            os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
            with open(os.path.join(root, path), "w") as file:
                file.write(text)
        return subprocess.run([sys.executable, CHECK, root], capture_output=True, text=True)


class CheckIncludes(unittest.TestCase):
    def test_good_tree_is_clean(self):
        done = run_check(GOOD)
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)

    def test_each_planted_break_is_found(self):
        for path, text, message in BAD:
            with self.subTest(path):
                done = run_check({**GOOD, path: text})
                self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
                found = [line for line in done.stdout.splitlines() if line.startswith(path + ":")]
                self.assertTrue(any(message in line for line in found), done.stdout)
                self.assertEqual(found, done.stdout.splitlines(), "nothing else may be reported")

    def test_an_empty_tree_is_no_pass(self):
        self.assertEqual(run_check({}).returncode, 2)


if __name__ == "__main__":
    unittest.main()
