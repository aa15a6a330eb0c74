"""docs/runtime.md shows what is compiled and what is there: the example, every function, every status."""

import pathlib
import re
import sys


def main():
    root = pathlib.Path(sys.argv[1])
    page = (root / "docs/runtime.md").read_text()
    header = (root / "runtime/include/mha/mha.h").read_text()
    problems = []
    for language, file in (("c", "tests/runtime/doc_example.c"), ("yaml", "tests/runtime/example.yaml"),
                           ("c", "tests/runtime/doc_cached_example.c"),
                           ("yaml", "tests/runtime/cached_example.yaml")):
        source = (root / file).read_text()
        if f"```{language}\n{source}```" not in page:
            problems.append(f"docs/runtime.md does not show {file} as it is")
    functions = set(re.findall(r"\b(mha_[a-z_0-9]+)\(", header))
    statuses = set(re.findall(r"\b(MHA_[A-Z_]+) = \d+",
                              header.split("typedef enum mha_status {")[1].split("}")[0]))
    if len(functions) < 15 or len(statuses) < 12:
        problems.append(f"found only {len(functions)} functions and {len(statuses)} statuses in mha.h")
    problems += [f"docs/runtime.md does not mention {name}"
                 for name in sorted(functions | statuses) if name not in page]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
