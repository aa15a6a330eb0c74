"""bench/peers without a peer: the table of cells, our kernel through ctypes, the measuring, what is written.

    peers_test.py SOURCE BUILD [TEST...]
"""

import array
import math
import os
import random
import re
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

SOURCE, BUILD = sys.argv[1:3]
sys.path.insert(0, os.path.join(SOURCE, "bench", "peers"))

import cases  # noqa: E402
import environments  # noqa: E402
import fleet  # noqa: E402
import kernels  # noqa: E402
import measure  # noqa: E402
import ours  # noqa: E402
import peers  # noqa: E402
import plot  # noqa: E402
import report  # noqa: E402


class Table(unittest.TestCase):
    def test_the_table_covers_what_it_promises(self):
        table = cases.read_table(cases.TABLE.read_text(encoding="utf-8"))
        in_bf16 = {(case.op, case.causal) for case in table if case.dtype == "bf16"}
        self.assertEqual(in_bf16, {("attention", False), ("attention", True), ("block", False), ("block", True),
                                   ("decode", False)})
        decoded = {(case.dtype, case.length, case.heads // case.kv_heads) for case in table if case.op == "decode"}
        self.assertEqual(decoded, {(dtype, length, group) for dtype in ("f32", "bf16")
                                   for length in (4096, 16384) for group in (1, 4)})
        table = [case for case in table if case.dtype == "f32" and case.op != "decode"]
        self.assertEqual({case.d_head for case in table if case.op == "attention"}, {32, 64, 80, 128})
        self.assertEqual({case.d_head for case in table if case.op == "block"}, {32, 64, 80, 128})
        for width in (32, 64, 80, 128):
            lengths = {case.length for case in table if (case.op, case.d_head) == ("attention", width)}
            self.assertEqual((min(lengths), max(lengths)), (16, 8192))
        self.assertTrue(any(case.quick for case in table))
        for case in cases.read_table(cases.TABLE.read_text(encoding="utf-8")):
            self.assertLessEqual(len(case.kernel_name("bshd")), 48, "the longest name of a config")

    def test_work_counts_visible_pairs(self):
        self.assertEqual(cases.Case("attention", 0, 2, 8, 3, False).flops, 4 * 16 * 9)
        self.assertEqual(cases.Case("attention", 0, 2, 8, 3, True).flops, 4 * 16 * 6)
        self.assertEqual(cases.Case("block", 10, 2, 8, 3, False).flops, 4 * 16 * 9 + 4 * 2 * 3 * 10 * 16)
        decode = cases.Case("decode", 0, 4, 8, 10, False, kv_heads=2, dtype="bf16")
        self.assertEqual((decode.flops, decode.work, decode.limit), (4 * 32 * 10, 2 * 10 * 2 * 8 * 2, "read"))
        block = cases.Case("block", 10, 2, 8, 3, False, dtype="bf16")
        self.assertEqual((block.work, block.limit), (block.flops, "bf16"))

    def test_errors_name_the_line(self):
        for line, words in (("attention f32 8 2 8 full 16", "op must be"), ("prefill f32 0 2 8 full 16", "op must be"),
                            ("attention f32 0 2 8 left 16", "masks are"), ("decode f32 0 2 8 causal 16", "masks are"),
                            ("attention f32 0 2 8 full 0", "positive"), ("attention f32 0 2 x full 16", "x"),
                            ("attention f33 0 2 8 full 16", "dtypes are"), ("decode f32 0 4/3 8 full 16", "divide"),
                            ("attention f32 0 4/2 8 full 16", "elsewhere"), ("attention f32", "list index")):
            with self.assertRaisesRegex(ValueError, f"cases.txt:2: .*{words}"):
                cases.read_table("# first\n" + line)
        with self.assertRaisesRegex(ValueError, "twice"):
            cases.read_table("attention f32 0 2 8 full 16 16*")


def attention(q, k, v, causal):
    """softmax(q k^T / sqrt(D)) v of one head, lists of rows."""
    out = []
    for i, row in enumerate(q):
        seen = range(i + 1) if causal else range(len(k))
        scores = [sum(a * b for a, b in zip(row, k[j])) / math.sqrt(len(row)) for j in seen]
        weights = [math.exp(score - max(scores)) for score in scores]
        out.append([sum(w * v[j][d] for w, j in zip(weights, seen)) / sum(weights) for d in range(len(v[0]))])
    return out


def matmul_transposed(x, w):
    return [[sum(a * b for a, b in zip(row, column)) for column in w] for row in x]


class OurKernel(unittest.TestCase):
    """What the peers are compared with computes what it should, through the same calls."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.generator = kernels.Generator(BUILD, cls.folder.name)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def setUp(self):
        self.random = random.Random(3)
        self.kept = []

    def floats(self, count):
        self.kept.append(array.array("f", (self.random.gauss(0, 1) for _ in range(count))))
        return self.kept[-1]

    def open(self, case, layout, threads):
        library = ours.Library(self.generator.make(case, layout), case.kernel_name(layout))
        return ours.Kernel(library, threads, 2)

    def check(self, got, expected):
        self.assertEqual(len(got), len(expected))
        worst = max(abs(a - b) for a, b in zip(got, expected))
        self.assertLess(worst, 1e-5 * max(map(abs, expected)))

    def test_attention_in_both_layouts_in_two_steps(self):
        for layout in ("bshd", "bhsd"):
            for causal in (False, True):
                with self.subTest(layout=layout, causal=causal):
                    case = cases.Case("attention", 0, 2, 8, 5, causal)
                    at = (lambda h, i: (i * 2 + h) * 8) if layout == "bshd" else (lambda h, i: (h * 5 + i) * 8)
                    q, k, v, between, out = (self.floats(80) for _ in range(5))
                    kernel = self.open(case, layout, threads=2)
                    for step, (source, target) in enumerate(((q, between), (between, out))):
                        for name, data in (("query", source), ("key", k), ("value", v), ("output", target)):
                            kernel.set_tensor(step, name, data.buffer_info()[0])
                    kernel.caller()()
                    kernel.close()
                    expected = [0.0] * 80
                    for h in range(2):
                        rows = [[t[at(h, i):at(h, i) + 8] for i in range(5)] for t in (q, k, v)]
                        rows[0] = attention(*rows, causal)
                        for i, row in enumerate(attention(*rows, causal)):
                            expected[at(h, i):at(h, i) + 8] = row
                    self.check(out, expected)

    def test_block_with_weights_of_its_own_in_each_step(self):
        case = cases.Case("block", 12, 2, 4, 3, True)
        kernel = self.open(case, "bshd", threads=1)
        x, out = self.floats(36), [self.floats(36), self.floats(36)]
        rows = [list(x[i * 12:i * 12 + 12]) for i in range(3)]
        source = x
        for step in range(2):
            weights = [(name, self.floats(96), *shape) for name, shape in
                       (("w_q", (8, 12)), ("w_k", (8, 12)), ("w_v", (8, 12)), ("w_o", (12, 8)))]
            kernel.set_tensor(step, "x", source.buffer_info()[0])
            kernel.set_tensor(step, "output", out[step].buffer_info()[0])
            kernel.set_weights(step, [(name, data.buffer_info()[0], *shape) for name, data, *shape in weights])
            source = out[step]
            matrices = [[list(data[r * columns:(r + 1) * columns]) for r in range(count)]
                        for _, data, count, columns in weights]
            q, k, v = (matmul_transposed(rows, matrix) for matrix in matrices[:3])
            heads = [attention(*([row[h * 4:h * 4 + 4] for row in t] for t in (q, k, v)), True)
                     for h in range(2)]
            rows = matmul_transposed([heads[0][i] + heads[1][i] for i in range(3)], matrices[3])
        kernel.caller()()
        kernel.close()
        self.check(out[1], sum(rows, []))

    def test_decode_begins_each_call_at_the_same_key(self):
        case = cases.Case("decode", 0, 4, 8, 5, False, kv_heads=2)
        kernel = self.open(case, "bshd", threads=1)
        q, k, v, out = (self.floats(count) for count in (32, 80, 80, 32))
        new = [array.array("f", t[64:]) for t in (k, v)]  # the fifth key is the new token's
        for step in range(2):
            for name, data in (("query", q), ("key", new[0]), ("value", new[1]), ("output", out)):
                kernel.set_tensor(step, name, data.buffer_info()[0])
            kernel.set_cache(step, 4, k.buffer_info()[0], v.buffer_info()[0])
        with self.assertRaisesRegex(ours.Failed, "a cache already"):
            kernel.set_cache(0, 4, k.buffer_info()[0], v.buffer_info()[0])
        kernel.caller()()
        kernel.caller()()
        kernel.close()
        rows = lambda t, g: [list(t[(i * 2 + g) * 8:(i * 2 + g) * 8 + 8]) for i in range(5)]
        expected = [attention([q[h * 8:h * 8 + 8]], rows(k, h // 2), rows(v, h // 2), False)[0] for h in range(4)]
        self.check(out, sum(expected, []))

    def test_errors_have_their_message(self):
        case = cases.Case("attention", 0, 2, 8, 5, False)
        kernel = self.open(case, "bshd", threads=1)
        with self.assertRaisesRegex(ours.Failed, "no tensor queries"):
            kernel.set_tensor(0, "queries", 0)
        with self.assertRaisesRegex(ours.Failed, "no step 2"):
            kernel.set_tensor(2, "query", 0)
        with self.assertRaisesRegex(ours.Failed, "has no cache"):
            kernel.set_cache(0, 1, 0, 0)
        with self.assertRaisesRegex(ours.Failed, "INVALID_ARGUMENT"):
            kernel.caller()()
        kernel.close()
        with self.assertRaisesRegex(RuntimeError, "mha-gen.*heads"):
            self.generator.make(cases.Case("attention", 0, 0, 8, 5, False), "bshd")

    def test_a_kernel_is_made_once(self):
        case = cases.Case("attention", 0, 2, 8, 5, False)
        made = self.generator.make(case, "bshd")
        before = made.stat().st_mtime_ns
        self.assertEqual(self.generator.make_all([(case, "bshd")], 2), {(case, "bshd"): made})
        self.assertEqual(made.stat().st_mtime_ns, before)

    def test_limits_of_the_machine(self):
        library = ours.Library(self.generator.make(cases.Case("attention", 0, 2, 8, 5, False), "bshd"),
                               "peers_attention_h2_d8_l5_full_bshd")
        for limit in (b"f32", b"bf16", b"read"):
            self.assertGreater(library.limit(limit, 1), 1e8, limit)
        self.assertEqual(library.limit(b"f64", 1), 0)


class Time:
    """A clock that only the timed functions and rests move."""

    def __init__(self):
        self.now, self.order = 0.0, []

    def spends(self, name, seconds):
        def function():
            self.order.append(name)
            self.now += seconds
        return function


class Measuring(unittest.TestCase):
    def test_sides_take_turns_and_rest_in_between(self):
        time = Time()

        def rest():
            time.order.append("rest")
            time.now += 1
        rounds = measure.in_turn(time.spends("ours", 0.2), time.spends("theirs", 0.3), lambda: 1e9, (0.2, 0.3),
                                 clock=lambda: time.now, resting=rest)
        self.assertEqual(len(rounds), 5)
        self.assertEqual([word for word in time.order if word != "rest"][:4],
                         ["ours", "theirs", "theirs", "ours"])
        for index, word in enumerate(time.order):
            if word != "rest":
                self.assertEqual(time.order[index - 1], "rest")
        self.assertAlmostEqual(rounds[3]["theirs"][0], 0.3)

    def test_rest_lasts_until_no_thread_works(self):
        used = iter([0.0, 0.004, 0.004, 0.008, 0.008, 0.0081, 7.0])
        naps = []
        measure.rest(used=lambda: next(used), sleep=naps.append)
        self.assertEqual(len(naps), 3)
        always = iter(range(1000))
        measure.rest(used=lambda: next(always), sleep=naps.append)
        self.assertEqual(len(naps), 3 + measure.MOST_RESTS)

    def test_short_calls_come_in_bursts_of_which_the_first_call_is_not_timed(self):
        time = Time()
        seconds = measure.burst(time.spends("ours", 0.001), 30, clock=lambda: time.now)
        self.assertEqual((len(seconds), len(time.order)), (30, 31))

    def test_close_calls_are_told(self):
        rounds = [{"ours": [2.0], "theirs": [theirs]} for theirs in (1.0, 2.05, 9.0)]
        self.assertTrue(measure.is_close(rounds))
        self.assertFalse(measure.is_close([{"ours": [1.0], "theirs": [1.06]}]))
        self.assertFalse(measure.is_close([{"ours": [1.06], "theirs": [1.0]}]))

    def test_summary(self):
        rounds = [{"ours": [2.0, 2.0], "theirs": [3.0, 5.0], "peak": 100.0},
                  {"ours": [1.0, 3.0], "theirs": [2.0, 2.0], "peak": 200.0},
                  {"ours": [2.0, 2.0], "theirs": [6.0, 6.0], "peak": 300.0}]
        summary = measure.summary(rounds, 100, steps=2)
        self.assertAlmostEqual(summary["ours"]["median"], 1.0)
        self.assertAlmostEqual(summary["ours"]["min"], 0.5)
        self.assertAlmostEqual(summary["ours"]["percent"], 50)
        self.assertAlmostEqual(summary["ratio"], 2.0)  # of 2, 1 and 3
        self.assertAlmostEqual(summary["peak_gflops"], 200e-9)


class Scripted:
    """A worker that answers as told: a job whose index is in `deadly` is its last."""

    def __init__(self, deadly, hello=True):
        self.deadly, self.messages = deadly, [{"version": "1"} if hello else None]

    def next(self):
        return self.messages.pop(0)

    def send(self, job):
        index = job["index"]
        self.messages += [{"begin": index},
                          None if index in self.deadly else {"index": index, "result": {"ratio": index}}]

    def close(self):
        return -11


class Fleet(unittest.TestCase):
    def run_all(self, start):
        results = {}
        fleet.run_jobs(start, [{"index": i} for i in range(4)], lambda version: None, results.__setitem__)
        return results

    def test_a_death_costs_one_cell(self):
        started = []
        results = self.run_all(lambda: started.append(1) or Scripted({1}))
        self.assertEqual(len(started), 2)
        self.assertIn("died", results.pop(1)["failed"])
        self.assertEqual(results, {i: {"ratio": i} for i in (0, 2, 3)})

    def test_a_worker_that_does_not_start_fails_every_cell(self):
        results = self.run_all(lambda: Scripted(set(), hello=False))
        self.assertEqual(len(results), 4)
        self.assertIn("does not start (exit code -11)", results[3]["failed"])

    def test_one_cpu_a_core(self):
        self.assertEqual(fleet.one_cpu_a_core({0, 1, 2, 3, 4}, lambda cpu: [cpu % 3, cpu % 3 + 3]), [4, 3, 2])


def entry(peer, threads=1, length=16, ratio=2.0, **changes):
    side = {"median": 1e-3, "min": 9e-4, "calls": 7, "gflops": 90.0, "percent": 80.0}
    return {"name": f"attention_{length}", "op": "attention", "d_model": 0, "heads": 8, "d_head": 64,
            "length": length, "mask": "full", "steps": 1, "flops": 1, "threads": threads, "peer": peer,
            "variant": "plain", "ours": side, "theirs": side, "ratio": ratio, "peak_gflops": 112.0, **changes}


def results(*entries):
    return {"version": report.VERSION, "machine": "a <machine>", "date": "2026-01-01", "generator": "x",
            "peers": {"onnxruntime": {"version": "1.2"}, "openvino": {"version": "3.4"},
                      "zentorch": {"skipped": "made for AMD processors, and this is none"}},
            "results": list(entries)}


class Words(unittest.TestCase):
    def setUp(self):
        self.results = results(
            entry("onnxruntime", ratio=1.5), entry("openvino", ratio=1.2),
            entry("onnxruntime", length=128, ratio=0.8), {**entry("openvino", length=128), "failed": "it fell"})

    def test_page(self):
        page = report.page(self.results)
        self.assertIn("ONNX Runtime 1.2, OpenVINO 3.4", page)
        self.assertIn("zentorch was skipped: made for AMD processors, and this is none.", page)
        self.assertIn("Ahead of the best peer in 1 of 2 cells", page)
        self.assertIn("0.80 times at the least (attention 8 x 64, full, L = 128, one thread, ONNX Runtime)", page)
        self.assertRegex(page, r"\| 8 x 64 \| 16 \| 1.00 ms .* \| OpenVINO \| \*\*1.20\*\* \|")
        self.assertRegex(page, r"\| 8 x 64 \| 128 \|.*\| failed \| ONNX Runtime \| \*\*0.80\*\* \|")
        self.assertIn("it fell", page)
        for row in page.splitlines():
            if row.startswith("|"):
                self.assertEqual(row.count("|"), 11)

    def test_readme(self):
        part = report.readme_part(self.results)
        self.assertIn("| attention, full | one thread | 1.20 | 0.80 |", part)
        text = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
        self.assertEqual(report.between_marks(text, "new"), f"before\n{report.BEGIN}\nnew\n{report.END}\nafter\n")
        with self.assertRaises(SystemExit):
            report.between_marks("no marks", "new")

    def test_the_readme_has_the_marks(self):
        with open(os.path.join(SOURCE, "README.md"), encoding="utf-8") as file:
            report.between_marks(file.read(), "")

    def test_dtypes_and_decode_have_rows_of_their_own(self):
        decode = {"op": "decode", "kv_heads": 2, "name": "decode", "length": 4096}
        more = results(*self.results["results"], entry("onnxruntime", dtype="bf16", name="b", absent=True),
                       entry("openvino", dtype="bf16", name="b", ratio=1.3), entry("openvino", **decode, ratio=1.7),
                       entry("openvino", **{**decode, "name": "d", "dtype": "bf16"}, ratio=1.9))
        part = report.readme_part(more)
        for row in ("attention, full | one thread | 1.20 | 0.80 |  |", "attention, full, bf16 | one thread | 1.30 |",
                    "decode, one query, f32 | one thread |  |  | 1.70 |",
                    "decode, one query, bf16 | one thread |  |  | 1.90 |"):
            self.assertIn(row, part)
        page = report.page(more)
        self.assertIn("## Attention, full, bf16, one thread", page)
        self.assertRegex(page, r"\| 8 x 64 \| 16 \| .* \| - \| .*\*\*1.30\*\*")
        self.assertIn("## Decode, one query, f32, one thread\n\n| shape | L | ours | least | GB/s | of read |", page)
        self.assertRegex(page, r"\| 8 / 2 x 64 \| 4096 \|")
        self.assertNotIn("absent", page)
        self.assertEqual(len(plot.series(more, "attention", "full", 1, 64)[plot.OURS]), 2)  # f32 alone

    def test_cells_of_several_days(self):
        self.assertIn("2026-01-01.", report.readme_part(self.results))
        kept = results(entry("openvino", date="2025-12-31"), entry("openvino", length=128))
        self.assertIn("2025-12-31 to 2026-01-01", report.readme_part(kept))

    def test_nothing_measured_is_said(self):
        self.assertIn("Nothing was measured", report.page(results({**entry("openvino"), "failed": "gone"})))

    def test_seconds(self):
        self.assertEqual([report.seconds_text(s) for s in (1.234e-6, 45.6e-6, 789e-6, 1.5, 12.3e-3)],
                         ["1.23 us", "45.6 us", "789 us", "1500 ms", "12.3 ms"])

    def test_picture(self):
        picture = plot.picture(self.results)
        root = xml.etree.ElementTree.fromstring(picture)
        self.assertEqual(len(root.findall("{*}polyline")), 3)  # ours and two peers
        self.assertIn("a &lt;machine&gt;", picture)
        xml.etree.ElementTree.fromstring(plot.picture(results()))


class Keeping(unittest.TestCase):
    def test_other_cells_stay(self):
        old = results(entry("openvino"), entry("openvino", length=128), entry("onnxruntime", length=128))
        with tempfile.TemporaryDirectory() as folder:
            path = peers.pathlib.Path(folder) / "peers.json"
            peers.save(old, path)
            options = peers.arguments(["--keep", "--json", str(path), "--peers", "openvino", "--threads", "1"])
            start = peers.start_of(options, "y", "a <machine>", {"attention_128"})
            self.assertEqual([(e["name"], e["peer"], e["date"]) for e in start["results"]],
                             [("attention_16", "openvino", "2026-01-01"),
                              ("attention_128", "onnxruntime", "2026-01-01")])
            self.assertEqual((start["generator"], start["peers"]), ("y", old["peers"]))
            with self.assertRaisesRegex(SystemExit, "another machine"):
                peers.start_of(options, "y", "another", set())
            with self.assertRaisesRegex(SystemExit, "its generator is another"):
                peers.start_of(peers.arguments(["--resume", "--json", str(path)]), "y", "a <machine>", set())


class Environments(unittest.TestCase):
    def test_all_is_pinned_by_hash(self):
        for path in environments.REQUIREMENTS.glob("*.txt"):
            for line in re.sub(r"#.*", "", path.read_text()).replace("\\\n", " ").splitlines():
                if line.strip():
                    self.assertRegex(line, r"^[\w.-]+==[\w.]+( +--hash=sha256:[0-9a-f]{64})+ *$", path.name)

    def test_what_cannot_be_installed_says_why(self):
        with tempfile.TemporaryDirectory() as folder:
            log = environments.pathlib.Path(folder) / "log"
            with self.assertRaisesRegex(environments.Unavailable, "no wheel for you"):
                environments.run_logged(["sh", "-c", "echo no wheel for you; exit 3"], log)

    def test_zentorch_is_for_amd(self):
        self.assertTrue(environments.is_amd("vendor_id\t: AuthenticAMD\n"))
        self.assertFalse(environments.is_amd("vendor_id\t: GenuineIntel\n"))


class CommandLine(unittest.TestCase):
    def peers(self, *words):
        return subprocess.run([sys.executable, "-B", os.path.join(SOURCE, "bench/peers/peers.py"), *words],
                              capture_output=True, text=True)

    def test_list_and_bad_arguments(self):
        self.assertIn("attention_h8_d64_l512_causal\n", self.peers("--list", "--quick").stdout)
        for words, message in ((["--peers", "tensorflow"], "there is no tensorflow"),
                               (["--threads", "0"], "numbers from 1"), (["--cases", "nothing"], "no cell")):
            result = self.peers(*words)
            self.assertNotEqual(result.returncode, 0)
            self.assertIn(message, result.stderr)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
