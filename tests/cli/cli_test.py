"""mha-gen and mha-run as a user meets them: exit codes, messages, nothing half-written.

Run one case with: MHA_GEN=.../mha-gen MHA_RUN=.../mha-run python3 cli_test.py CliTest.test_NAME
"""

import json
import os
import pathlib
import shutil
import socket
import stat
import struct
import subprocess
import unittest

from tool import BLOCK, GEN, RUN, ToolTest, read_safetensors, tensor, write_safetensors

ATTENTION = """version: 1
name: cli_attention
op: attention
heads: 2
d_head: 8
query_length: {min: 1, max: 6}
key_length: 9
mask: {key_lengths: true}
outputs: [output, lse]
"""


def attention_inputs(query=4):
    return {
        "query": tensor("F32", [1, query, 2, 8], [0.25 * (i % 7) for i in range(query * 16)]),
        "key": tensor("F32", [1, 9, 2, 8], [0.125 * (i % 5) for i in range(144)]),
        "value": tensor("F32", [1, 9, 2, 8], [float(i % 11) for i in range(144)]),
        "key_lengths": tensor("I32", [1], [7]),
    }


class CliTest(ToolTest):
    known = {"attention.yaml", "block.yaml", "in.safetensors"}

    def setUp(self):
        super().setUp()
        self.config = self.write("attention.yaml", ATTENTION)
        self.block = self.write("block.yaml", BLOCK)
        self.inputs = self.dir / "in.safetensors"
        write_safetensors(self.inputs, attention_inputs())

    # --- arguments ---

    def test_help_and_version(self):
        for tool in (GEN, RUN):
            self.assertIn("--config", self.run_tool(tool, "--help").stdout)
            self.assertRegex(self.run_tool(tool, "--version").stdout, r"^mha-\w+ \d+\.\d+\.\d+\n$")

    def test_bad_arguments(self):
        for tool in (GEN, RUN):
            self.run_tool(tool, code=2, says=["--config"])
            self.run_tool(tool, "--config", self.config, "--no-such-option", code=2, says=["--no-such-option"])
            self.run_tool(tool, "--config", self.config, "--threads", "many", code=2, says=["--threads"])
            self.run_tool(tool, "--config", self.config, "--threads", "0", code=2, says=["--threads"])
            self.run_tool(tool, "--config", self.config, "--threads", "1025", code=2, says=["--threads", "1024"])
        self.assertNotIn("CallLengths", self.run_tool(RUN, "--help").stdout)
        self.assert_clean()

    def test_bad_sizes(self):
        for size, says in [("query_length", "KEY=NUMBER"), ("query_length=x", "KEY=NUMBER"),
                           ("length=3", "unknown key"), ("query_length=7", "1 to 6"),
                           ("query_length=0", "1 to 6"), ("key_length=8", "allows 9"),
                           ("query_length=99999999999999999999", "KEY=NUMBER"),
                           ("query_length=2,query_length=2", "twice")]:
            self.run_tool(RUN, "--config", self.config, "--size", size, code=2, says=[says])

    # --- configs ---

    def test_bad_configs(self):
        cases = [
            ("version: 1\nname: [\n", ""),
            ("", ""),
            (ATTENTION.replace("heads: 2", "heads: 3\nkv_heads: 2"), "kv_heads"),
            (ATTENTION.replace("heads: 2", "heads: -2"), "heads"),
            (ATTENTION.replace("d_head: 8", "d_heat: 8"), "did you mean"),
            (ATTENTION + "heads: 4\n", "heads"),
            (ATTENTION.replace("key_length: 9", "key_length: 2000000000"), "2^31"),
            (ATTENTION.replace("version: 1", "version: 2"), "version"),
            (ATTENTION + "targets: [arm64]\n", "arm64"),
        ]
        for i, (text, says) in enumerate(cases):
            path = self.write(f"bad{i}.yaml", text)
            for words in ([GEN, "--config", path], [GEN, "--check", "--config", path], [RUN, "--config", path]):
                self.run_tool(*words, code=2, says=[f"bad{i}.yaml:", says])
        self.assert_clean(besides=[f"bad{i}.yaml" for i in range(len(cases))])

    def test_all_problems_at_once(self):
        path = self.write("bad.yaml", ATTENTION.replace("d_head: 8", "d_head: none") + "wat: 1\n")
        self.run_tool(RUN, "--config", path, code=2, says=["bad.yaml:5:9:", "bad.yaml:10:1:", "^"])

    def test_check_refuses_what_generation_refuses(self):
        huge = "version: 1\nname: huge\nop: attention\nheads: 1\nd_head: 1\n"
        cases = [
            (huge + "query_length: 1\nkey_length: 1073741824\n",
             ["huge.yaml:7:1: error: key_length: the internal buffer `pack_values`", "2^31", "^", "hint: "]),
            (huge + "query_length: {min: 1, max: 1073741824}\n",
             ["huge.yaml:6:1: error: query_length: the internal buffer `pack_values`", "2^31", "^"]),
            (ATTENTION + "targets: [x86-64-v3, arm64]\n", ["huge.yaml:10:1: error: targets: "]),
        ]
        for text, says in cases:
            path = self.write("huge.yaml", text)
            for words in ([GEN, "--config", path, "--output", "gen"], [GEN, "--check", "--config", path],
                          [GEN, "--explain", "--config", path]):
                self.run_tool(*words, code=2, says=says)
        self.assert_clean(besides=["huge.yaml"])

    def test_missing_config(self):
        for tool in (GEN, RUN):
            self.run_tool(tool, "--config", "none.yaml", code=2, says=["none.yaml"])
            self.run_tool(tool, "--config", self.dir, code=2, says=[str(self.dir)])

    def test_unknown_target(self):
        for tool in (GEN, RUN):
            self.run_tool(tool, "--config", self.config, "--target", "zen9", code=2, says=["zen9"])
        self.run_tool(RUN, "--config", self.config, "--target", "", code=2, says=["--target"])
        self.assert_clean()
        if (self.cache / "mha").exists():
            self.assertEqual([p for p in (self.cache / "mha").iterdir() if p.name.startswith(".")], [])

    # --- input files ---

    def test_inputs_that_do_not_fit(self):
        def change(**tensors):
            changed = attention_inputs()
            for name, value in tensors.items():
                if value is None:
                    del changed[name]
                else:
                    changed[name] = value
            return changed

        cases = [
            (change(key=None), ["'key'", "[1,9,2,8]"]),
            (change(key=tensor("F32", [1, 8, 2, 8])), ["'key'", "[1,8,2,8]", "the config allows 9"]),
            (change(value=tensor("F32", [1, 8, 2, 8])), ["'value'", "[1,8,2,8]", "[1,9,2,8]"]),
            (change(query=tensor("F32", [4, 2, 8])), ["'query'", "[4,2,8]"]),
            (change(query=tensor("F32", [1, 7, 2, 8])), ["'query'", "1 to 6"]),
            (change(query=tensor("F32", [1, 0, 2, 8])), ["'query'", "1 to 6"]),
            (change(value=tensor("F16", [1, 9, 2, 8])), ["'value'", "F16", "F32"]),
            (change(query=tensor("F64", [1, 4, 2, 8])), ["'query'", "F32"]),
            (change(key_lengths=tensor("F32", [1])), ["'key_lengths'", "I32 or I64"]),
            (change(key_lengths=tensor("I32", [2])), ["'key_lengths'", "[2]", "[1]"]),
            (change(key_lengths=tensor("I32", [1], [10])), ["key_lengths", "10"]),
            (change(key_lengths=tensor("I32", [1], [-1])), ["key_lengths", "-1"]),
            (change(key_lengths=tensor("I64", [1], [1 << 40])), ["key_lengths", str(1 << 40)]),
            (change(mask=tensor("BOOL", [4, 9])), ["'mask'", "does not read"]),
        ]
        for i, (tensors, says) in enumerate(cases):
            with self.subTest(says=says):
                write_safetensors(self.inputs, tensors)
                self.run_tool(RUN, "--config", self.config, "--input", self.inputs, "--output", "out", code=2,
                              says=says)
        self.assert_clean()

    def test_broken_input_files(self):
        whole = self.inputs.read_bytes()
        for raw in (b"", whole[:7], whole[:60], whole[:-1], whole + b"x", b"\xff" * 64):
            self.inputs.write_bytes(raw)
            self.run_tool(RUN, "--config", self.config, "--input", self.inputs, code=2, says=["in.safetensors"])
        self.run_tool(RUN, "--config", self.config, "--input", "none", code=2, says=["none"])
        self.run_tool(RUN, "--config", self.config, "--input", self.dir, code=2, says=["folder"])

    def test_inputs_that_are_no_regular_files(self):
        os.mkfifo(self.dir / "pipe")
        (self.dir / "link").symlink_to("/dev/zero")
        (self.dir / "loop").symlink_to("loop")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(self.dir / "socket"))
            for path, says in (("/dev/null", "a device"), ("/dev/zero", "a device"), ("pipe", "a pipe"),
                               ("link", "a device"), ("socket", "a socket"), ("loop", "symbolic links"),
                               (self.dir, "a folder"), (f"{self.inputs}/x", "Not a directory"), ("", "cannot read")):
                with self.subTest(path=path):
                    self.run_tool(RUN, "--config", self.config, "--input", path, code=2, says=[says])
                    self.run_tool(RUN, "--config", self.block, "--weights", path, code=2, says=[says])
        read, write = os.pipe()
        os.close(write)
        for option, config in (("--input", self.config), ("--weights", self.block)):
            self.run_tool(RUN, "--config", config, option, f"/dev/fd/{read}", code=2, says=["a pipe"], pass_fds=[read])
        os.close(read)

    def test_inputs_without_permission(self):
        if os.geteuid() == 0:
            self.skipTest("root may read anything")
        self.inputs.chmod(0)
        self.run_tool(RUN, "--config", self.config, "--input", self.inputs, code=2, says=["Permission denied"])
        self.run_tool(RUN, "--config", self.block, "--weights", self.inputs, code=2, says=["Permission denied"])

    def test_size_against_input(self):
        self.run_tool(RUN, "--config", self.config, "--input", self.inputs, "--size", "query_length=3", code=2,
                      says=["query_length=3", "[1,4,2,8]"])

    # --- outputs ---

    def test_output_paths_that_cannot_be(self):
        self.write("file", "")
        os.mkfifo(self.dir / "pipe")
        (self.dir / "link").symlink_to("/dev/null")
        (self.dir / "nowhere").symlink_to("missing/x")
        before = os.stat("/dev/null")
        for path in ("file/out", "/dev/null", "/dev/full", "none/out", self.dir, "pipe", "link", "nowhere", ""):
            self.run_tool(RUN, "--config", self.config, "--output", path, code=2)
        for path in ("file/out", "/dev/null", "/dev/full", "file", "pipe", "link", "nowhere", ""):
            self.run_tool(GEN, "--config", self.config, "--output", path, code=2)
        self.assertEqual(before.st_rdev, os.stat("/dev/null").st_rdev)
        self.assertTrue(stat.S_ISCHR(os.stat("/dev/null").st_mode))
        self.assert_clean(besides=["file", "pipe", "link", "nowhere"])

    def test_foreign_folder_is_never_replaced(self):
        foreign = self.dir / "gen" / "cli_attention"
        foreign.mkdir(parents=True)
        (foreign / "thesis.txt").write_text("mine")
        self.run_tool(GEN, "--config", self.config, "--output", "gen", code=2, says=["cli_attention"])
        self.assertEqual((foreign / "thesis.txt").read_text(), "mine")
        self.assert_clean(self.dir / "gen", besides=["cli_attention"])

    def test_generated_folder_is_replaced_whole(self):
        for _ in range(2):
            self.run_tool(GEN, "--config", self.config, "--output", "gen")
            folder = self.dir / "gen" / "cli_attention"
            self.assertLessEqual({"libcli_attention.a", "cli_attention.h", "manifest.json", "cli_attention.pc",
                                  "cli_attention-config.cmake"}, {p.name for p in folder.iterdir()})
            (folder / "stale").write_text("")
        self.run_tool(GEN, "--config", self.config, "--output", "gen")
        self.assertFalse((folder / "stale").exists())
        self.assert_clean(self.dir / "gen", besides=["cli_attention"])

    def test_records_lie_beside_the_config_or_the_program(self):
        (self.dir / "prefix" / "bin").mkdir(parents=True)
        tool = shutil.copy(GEN, self.dir / "prefix" / "bin")
        words = [tool, "--config", self.config, "--explain", "--target", "x86-64-v3"]
        self.assertIn("(default)", self.run_tool(*words).stdout)
        for folder in (self.dir / "prefix" / "share" / "mha" / "records", self.dir / "mha-records"):
            folder.mkdir(parents=True)
            (folder / "x86-64-v3.yaml").write_text("records: [")
            self.run_tool(*words, code=2, says=[str(folder / "x86-64-v3.yaml")])
            (folder / "x86-64-v3.yaml").unlink()

    def test_check_writes_nothing(self):
        self.run_tool(GEN, "--config", self.config, "--check", "--output", "gen")
        self.assert_clean()

    def test_full_disk(self):
        mount = self.dir / "tiny"
        mount.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", mount],
                                 stderr=subprocess.PIPE, check=False)
        if mounted.returncode != 0:
            self.skipTest("cannot mount a tmpfs (needs root): " + mounted.stderr.decode().strip())
        try:
            self.run_tool(GEN, "--config", self.config, "--output", mount, code=1, says=["No space"])
            self.assertEqual(list(mount.iterdir()), [])
            (mount / "ballast").write_bytes(b"x" * 12288)
            (mount / "out").write_bytes(b"old")
            self.run_tool(RUN, "--config", self.config, "--output", mount / "out", code=1, says=["No space"])
            self.assertEqual({p.name for p in mount.iterdir()}, {"ballast", "out"})
            self.assertEqual((mount / "out").read_bytes(), b"old")
            self.run_tool(RUN, "--config", self.block, code=1, says=["No space"],
                          env={"XDG_CACHE_HOME": str(mount)})
            self.assertEqual({p.name for p in mount.iterdir()}, {"ballast", "out"})
        finally:
            subprocess.run(["umount", mount], check=True)

    def test_full_stdout(self):
        for words in ([GEN, "--help"], [RUN, "--version"], [RUN, "--config", self.config, "--json"],
                      [RUN, "--config", self.config, "--verify"],
                      [GEN, "--config", self.config, "--explain", "--output", "gen"]):
            with open("/dev/full", "w", encoding="utf-8") as full:
                self.run_tool(*words, code=1, says=["No space"], stdout=full)

    def test_read_only_folder(self):
        if os.geteuid() == 0:
            self.skipTest("root may write anywhere")
        folder = self.dir / "locked"
        folder.mkdir(mode=0o555)
        self.run_tool(RUN, "--config", self.config, "--output", folder / "out", code=2)
        self.run_tool(GEN, "--config", self.config, "--output", folder, code=2)

    # --- what works ---

    def test_run_from_a_file(self):
        self.run_tool(RUN, "--config", self.config, "--input", self.inputs, "--output", "out", "--verify")
        outputs = read_safetensors(self.dir / "out")
        self.assertEqual(outputs["output"][:2], ("F32", [1, 4, 2, 8]))
        self.assertEqual(outputs["lse"][:2], ("F32", [1, 2, 4]))
        # Query row 0 of head 0 by hand.
        inputs = {name: struct.unpack("<%df" % (len(raw) // 4), raw)
                  for name, (dtype, _, raw) in attention_inputs().items() if dtype == "F32"}
        import math
        scores = [sum(inputs["query"][d] * inputs["key"][j * 16 + d] for d in range(8)) / math.sqrt(8)
                  for j in range(7)]
        total = sum(math.exp(s) for s in scores)
        for d in range(8):
            want = sum(math.exp(s) / total * inputs["value"][j * 16 + d] for j, s in enumerate(scores))
            self.assertAlmostEqual(outputs["output"][2][d], want, places=5)
        self.assertAlmostEqual(outputs["lse"][2][0], math.log(total), places=5)

    def test_int64_lengths_are_taken(self):
        self.run_tool(RUN, "--config", self.config, "--input", self.inputs, "--output", "a")
        write_safetensors(self.inputs, {**attention_inputs(), "key_lengths": tensor("I64", [1], [7])})
        self.run_tool(RUN, "--config", self.config, "--input", self.inputs, "--output", "b")
        self.assertEqual((self.dir / "a").read_bytes(), (self.dir / "b").read_bytes())

    def test_seed_decides_the_random_tensors(self):
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            self.run_tool(RUN, "--config", self.block, "--seed", seed, "--output", name)
        a, b, c = ((self.dir / name).read_bytes() for name in "abc")
        self.assertEqual(a, b)
        self.assertNotEqual(a, c)

    def test_compiler_with_arguments(self):
        cc = self.write("my-cc", '#!/bin/sh\n[ "$1 $2" = "-DFIRST -DSECOND" ] && shift 2 && exec cc "$@"\n')
        cc.chmod(0o755)
        fresh = {"XDG_CACHE_HOME": str(self.dir / "fresh")}
        self.run_tool(RUN, "--config", self.config, env={**fresh, "CC": f" {cc}  -DFIRST -DSECOND "})
        self.run_tool(RUN, "--config", self.block, code=1, says=["my-cc"], env={**fresh, "CC": f"{cc} -DTHIRD"})
        self.run_tool(RUN, "--config", self.block, env={**fresh, "CC": " "})

    def test_json_is_one_object_and_nothing_else(self):
        result = self.run_tool(RUN, "--config", self.config, "--json", "--verify", "--quiet")
        report = json.loads(result.stdout)
        self.assertEqual(result.stderr, "")
        self.assertEqual(report["name"], "cli_attention")
        self.assertTrue(report["verify"]["passed"])

    def test_bench_json(self):
        result = self.run_tool(RUN, "--config", self.block, "--json", "--bench", "--threads", "1")
        report = json.loads(result.stdout)
        self.assertEqual(set(report), {"name", "op", "target", "threads", "calls", "seconds", "flops", "bytes",
                                       "peak_gflops", "read_gbytes_per_s", "percent_of_peak", "schedule"})
        self.assertEqual(report["op"], "block")
        self.assertEqual(report["threads"], 1)
        self.assertGreater(report["calls"], 2)
        self.assertGreater(report["seconds"]["min"], 0)
        self.assertGreaterEqual(report["seconds"]["median"], report["seconds"]["min"])
        # Four projections of 5 rows, 16 by 16, and two products over 25 pairs of width 8 in 2 heads.
        self.assertEqual(report["flops"], 4 * 2 * 5 * 16 * 16 + 2 * 2 * 25 * 8 * 2)
        self.assertEqual(report["bytes"], 4 * (2 * 5 * 16 + 4 * 16 * 16))
        rate = report["flops"] / report["seconds"]["min"] / 1e9
        self.assertAlmostEqual(report["percent_of_peak"], 100 * rate / report["peak_gflops"], places=6)
        self.assertIn(report["schedule"]["origin"], ("default", "record"))

    def test_failed_verify(self):
        """A kernel of the same name with another scale, planted into the cache, is found out."""
        environment = {"XDG_CACHE_HOME": str(self.dir / "planted")}
        other = self.write("other.yaml", ATTENTION + "scale: 0.9\n")
        folder = self.dir / "planted" / "mha"
        self.run_tool(RUN, "--config", self.config, "--verify", env=environment)
        (right,) = folder.iterdir()
        self.run_tool(RUN, "--config", other, "--verify", env=environment)
        (wrong,) = set(folder.iterdir()) - {right}
        shutil.copy(wrong / "libcli_attention.so", right / "libcli_attention.so")
        result = self.run_tool(RUN, "--config", self.config, "--verify", "--json", code=1,
                               says=["further from the reference"], env=environment)
        self.assertFalse(json.loads(result.stdout)["verify"]["passed"])

    def test_cache_serves_many_processes(self):
        environment = dict(os.environ, XDG_CACHE_HOME=str(self.dir / "fresh"))
        words = [RUN, "--config", str(self.config), "--verify", "--quiet"]
        processes = [subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL) for _ in range(4)]
        self.assertEqual([p.wait(timeout=120) for p in processes], [0] * 4)
        entries = list((self.dir / "fresh" / "mha").iterdir())
        self.assertEqual(len(entries), 1, "one entry, and no temporary folder left")
        second = self.run_tool(*words[:-1], env={"XDG_CACHE_HOME": str(self.dir / "fresh")})
        self.assertNotIn("generating", second.stderr)


if __name__ == "__main__":
    unittest.main()
