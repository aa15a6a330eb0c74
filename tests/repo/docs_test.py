"""What the docs say holds: links lead somewhere, the README's config generates, its C lines compile and link.

    docs_test.py SOURCE MHA_GEN LIBMHA
"""

import os
import re
import subprocess
import sys
import tempfile
import unittest

SOURCE, MHA_GEN, LIBMHA = sys.argv[1:4]


def read(path):
    with open(os.path.join(SOURCE, path), encoding="utf-8") as file:
        return file.read()


def pages():
    docs = [os.path.join("docs", name) for name in sorted(os.listdir(os.path.join(SOURCE, "docs")))]
    return ["README.md"] + [page for page in docs if page.endswith(".md")]


def block_after(text, words):
    """The indented block that follows the line with these words."""
    lines = text[text.index(words):].splitlines()[1:]
    start = next(i for i, line in enumerate(lines) if line.startswith("    "))
    block = []
    for line in lines[start:]:
        if line and not line.startswith("    "):
            break
        block.append(line[4:])
    return "\n".join(block) + "\n"


class Docs(unittest.TestCase):
    def test_links_lead_somewhere(self):
        for page in pages():
            for target in re.findall(r"\]\(([^)#]+)[^)]*\)", read(page)):
                if not target.startswith("http"):
                    path = os.path.normpath(os.path.join(SOURCE, os.path.dirname(page), target))
                    self.assertTrue(os.path.exists(path), f"{page} links to {target}")

    def test_programs_and_files_in_the_readme_exist(self):
        for path in re.findall(r"`((?:examples|docs|configs|tools)/[\w./-]+)`", read("README.md")):
            self.assertTrue(os.path.exists(os.path.join(SOURCE, path)), path)

    def test_config_and_c_lines_of_the_readme(self):
        readme = read("README.md")
        with tempfile.TemporaryDirectory() as folder:
            config, program = os.path.join(folder, "encoder.yaml"), os.path.join(folder, "main.c")
            with open(config, "w") as file:
                file.write(block_after(readme, "`encoder.yaml`, the attention"))
            subprocess.run([MHA_GEN, "--quiet", "--config", config, "--output", folder], check=True)
            with open(program, "w") as file:
                file.write('#include "encoder.h"\n#include <stdlib.h>\n'
                           "void call(void* x, void* key_lengths, void* y) {\n"
                           "mha_context* context; mha_weights* weights;\n"
                           + block_after(readme, "and in C, four steps") + "}\n"
                           "int main(void) { return mha_last_message()[0]; }\n")
            subprocess.run(["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", program,
                            "-I", os.path.join(folder, "encoder"),
                            "-I", os.path.join(SOURCE, "runtime", "include"),
                            os.path.join(folder, "encoder", "libencoder.a"), LIBMHA,
                            "-pthread", "-ldl", "-lm", "-o", os.path.join(folder, "main")], check=True)
            subprocess.run([os.path.join(folder, "main")], check=True)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
