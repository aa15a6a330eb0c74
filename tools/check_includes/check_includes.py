#!/usr/bin/env python3
"""Holds the include arrows of docs/architecture.md, and keeps build machines' paths out of the tree.

    check_includes.py [ROOT]

Prints file:line: rule for each break and exits 1; exits 2 when there was nothing to check.
"""

import os
import re
import sys

SOURCES = (".cc", ".h", ".c", ".td")
SKIPPED_FOLDERS = {".git", ".venv", "build", "generated", "__pycache__", "node_modules"}

# Module -> what of ours it may include, as path prefixes. A module always includes itself. A file belongs to
# the longest prefix that it starts with.
PLAN = "generator/ir/plan.h"
SPEC_STRUCT = "generator/spec/spec.h"
RULES = "generator/spec/expression"
ERRORS = "generator/spec/error.h"
ABI = ("mha/mha.h", "mha/kernel.h")
ARROWS = {
    "generator/spec/": (),
    "generator/ir/": ("generator/spec/",),
    "generator/pipeline/": (PLAN, SPEC_STRUCT, RULES, ERRORS),
    "generator/nvvm/": (PLAN, SPEC_STRUCT, ERRORS, "schedules/"),
    "schedules/": (PLAN, SPEC_STRUCT, RULES, ERRORS, "generator/pipeline/"),
    "schedules/tuner/": (PLAN, SPEC_STRUCT, ERRORS, "schedules/", "generator/pipeline/", "generator/emit/",
                         "generator/spec/", "bench/peak.h") + ABI,
    "generator/emit/": ("generator/", "schedules/") + ABI,
    "runtime/": ABI,
    "examples/minimal/": ("mha/mha.h",),
}
# The bits and layouts of the ABI are also data for the machine tables and the programs.
ARROWS["schedules/"] += ABI
ARROWS["generator/pipeline/"] += ABI

# Library -> (the includes that give it away, the only places that may see it, even through other headers).
LIBRARIES = {
    "yaml-cpp": (r"yaml-cpp/", ("generator/spec/", "schedules/record.cc", "tests/spec/")),
    "MLIR": (r"mlir(-c)?/", ("generator/ir/", "generator/nvvm/", "tools/mha-opt/", "tests/ir/")),
    "LLVM": (
        r"llvm(-c)?/",
        ("generator/ir/", "generator/nvvm/", "generator/emit/", "tools/mha-opt/", "tests/ir/", "tests/emit/"),
    ),
    "Halide": (
        r"Halide\.h$",
        ("generator/pipeline/", "schedules/", "generator/emit/",
         "tests/pipeline/", "tests/schedules/", "tests/emit/", "tests/install/", "tests/numeric/"),
    ),
    "SQLite": (
        r"sqlite3\.h$",
        ("schedules/tuner/sqlite.", "schedules/tuner/database.cc", "schedules/tuner/database_rows.", "tests/tuner/"),
    ),
    "Halide's runtime": (r"HalideRuntime\.h$", ("runtime/", "tests/runtime/", "tests/install/")),
}
# The runtime takes nothing from outside but C, POSIX and the parts of C++ that need no library.
RUNTIME_FOREIGN = re.compile(r"^(HalideRuntime\.h|[a-z0-9_]+(\.h)?|(sys|linux)/[a-z_]+\.h)$")
RUNTIME_BANNED = {"iostream", "ostream", "istream", "sstream", "fstream", "string", "vector", "map",
                  "unordered_map", "set", "functional", "regex", "thread", "stdexcept", "locale", "filesystem"}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]')
# Written in halves, so that this file does not trip over itself.
MACHINE_PATHS = re.compile(r"(?<![\w.$}])/(wo" + r"rk|ho" + r"me|ro" + r"ot)/|/tmp" + r"/[a-z]-|/tmp" + r"/env\b")


def owner(path, table):
    """The longest key of the table that the path starts with, or None."""
    best = None
    for prefix in table:
        if path.startswith(prefix) and (best is None or len(prefix) > len(best)):
            best = prefix
    return best


def walk(root):
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS)
        for name in sorted(set(files) - {".git"}):  # a file in a work tree of git
            yield os.path.relpath(os.path.join(folder, name), root)


class Tree:
    def __init__(self, root):
        self.root = root
        self.files = list(walk(root))
        self.includes = {}  # path -> [(line, quote, name)]
        self.problems = []
        for path in self.files:
            if path.endswith(SOURCES):
                self.includes[path] = self.read_includes(path)

    def read_includes(self, path):
        with open(os.path.join(self.root, path), encoding="utf-8", errors="replace") as file:
            found = ((number, INCLUDE.match(line)) for number, line in enumerate(file, 1))
            return [(number, match[1], match[2]) for number, match in found if match]

    def resolve(self, path, name):
        """The file of this tree that an include means, or None."""
        for candidate in (name, "runtime/include/" + name, os.path.join(os.path.dirname(path), name)):
            candidate = os.path.normpath(candidate)
            if candidate in self.includes:
                return candidate
        return None

    def report(self, path, line, rule):
        self.problems.append(f"{path}:{line}: {rule}")

    def check_arrows(self, path):
        module = owner(path, ARROWS)
        if module is None:
            return
        for line, _, name in self.includes[path]:
            target = self.resolve(path, name)
            if target is None:
                continue
            target = target.removeprefix("runtime/include/")
            same = target.startswith(module) and owner(target, ARROWS) == module
            own_abi = module == "runtime/" and target.startswith(("mha/", "runtime/"))
            if not same and not own_abi and not target.startswith(ARROWS[module]):
                allowed = ", ".join(ARROWS[module]) or "nothing of ours"
                self.report(path, line, f"{module} may include {allowed}; not {target}")

    def libraries_seen(self, path, visiting=()):
        """{library: the chain of includes that leads to it}"""
        seen = {}
        for line, _, name in self.includes.get(path, ()):
            for library, (pattern, _) in LIBRARIES.items():
                if re.match(pattern, name):
                    seen.setdefault(library, (line, name))
            target = self.resolve(path, name)
            if target and target not in visiting and target != path:
                for library in self.libraries_seen(target, visiting + (path,)):
                    seen.setdefault(library, (line, f"{name}, which leads to it"))
        return seen

    def check_libraries(self, path):
        for library, (line, name) in self.libraries_seen(path).items():
            places = LIBRARIES[library][1]
            if not path.startswith(places):
                self.report(path, line, f"{library} is seen only in {', '.join(places)} (here by {name})")

    def check_runtime(self, path):
        if not path.startswith("runtime/"):
            return
        for line, quote, name in self.includes[path]:
            if self.resolve(path, name):
                continue
            if not RUNTIME_FOREIGN.match(name) or name in RUNTIME_BANNED:
                self.report(path, line, f"the runtime may not need <{name}>: it lives on libc alone")

    def check_guard(self, path):
        if not path.endswith(".h") or path.startswith(("tests/", "examples/")):
            return
        stem = path.removeprefix("runtime/include/mha/")
        guard = "MHA_" + re.sub(r"[^A-Za-z0-9]", "_", stem).upper() + "_"
        with open(os.path.join(self.root, path), encoding="utf-8") as file:
            if f"#ifndef {guard}\n#define {guard}\n" not in file.read():
                self.report(path, 1, f"the include guard should be {guard}")

    def check_machine_paths(self, path):
        try:
            with open(os.path.join(self.root, path), encoding="utf-8") as file:
                for number, line in enumerate(file, 1):
                    if match := MACHINE_PATHS.search(line):
                        self.report(path, number, f"a path of some build machine: {match[0]}")
        except UnicodeDecodeError:
            pass  # not text

    def check(self):
        for path in self.includes:
            self.check_arrows(path)
            self.check_libraries(path)
            self.check_runtime(path)
            self.check_guard(path)
        for path in self.files:
            self.check_machine_paths(path)
        return self.problems


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    tree = Tree(os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else os.path.join(here, "..", ".."))
    if not tree.includes:
        print("check_includes: no sources here", file=sys.stderr)
        return 2
    problems = tree.check()
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
