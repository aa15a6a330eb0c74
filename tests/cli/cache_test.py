"""Kernels with a cache under mha-run: pasts in files, what comes back, and what is refused.

Run one case with: MHA_GEN=.../mha-gen MHA_RUN=.../mha-run python3 cache_test.py CacheTest.test_NAME
"""

import json
import math
import subprocess
import unittest

from tool import GEN, RUN, ToolTest, read_safetensors, tensor, write_safetensors

# B up to 3, H 2, G 1, Lq up to 4, D 8.
PLAIN = """version: 1
name: cache_plain
op: attention
heads: 2
kv_heads: 1
d_head: 8
batch: {min: 1, max: 3}
query_length: {min: 1, max: 4}
mask: {causal: true}
kv_cache: {capacity: 64}
"""
PAGED = PLAIN.replace("plain", "paged").replace("capacity: 64", "capacity: 64, layout: paged, page: 16")


def numbers(count, seed):
    return [((i * 37 + seed * 11) % 29 - 14) / 8 for i in range(count)]


def random_like(shape, seed):
    return tensor("F32", shape, numbers(math.prod(shape), seed))


class CacheTest(ToolTest):
    def inputs(self, past_lengths, queries=2):
        batch, longest = len(past_lengths), max(past_lengths)
        return {"query": random_like([batch, queries, 2, 8], 1), "key": random_like([batch, queries, 1, 8], 2),
                "value": random_like([batch, queries, 1, 8], 3),
                "past_key": random_like([batch, longest, 1, 8], 4),
                "past_value": random_like([batch, longest, 1, 8], 5),
                "cache_lengths": tensor("I32", [batch], past_lengths)}

    def run_on(self, config, tensors, *words, **options):
        write_safetensors(self.dir / "in", tensors)
        path = self.write("config.yaml", config)
        self.run_tool(RUN, "--config", path, "--input", "in", "--output", "out", "--verify", *words, **options)
        return None if options.get("code") else read_safetensors(self.dir / "out")

    def test_present_is_the_past_and_the_new_rows(self):
        tensors = self.inputs([20, 3])
        got = self.run_on(PLAIN, tensors)
        past, new = numbers(2 * 20 * 8, 4), numbers(2 * 2 * 8, 2)
        want = past[:160] + new[:16] + past[160:184] + new[16:] + [0] * (17 * 8)
        self.assertEqual(got["present_key"], ("F32", [2, 22, 1, 8], tuple(want)))

    def test_pages_in_any_order_are_the_same_bits(self):
        tensors = self.inputs([20, 3, 20])
        plain = self.run_on(PLAIN, tensors)
        # The third sequence has the first one's first page.
        for name, seed in (("past_key", 4), ("past_value", 5)):
            rows = numbers(3 * 20 * 8, seed)
            sequences = [rows[b * 160:(b + 1) * 160] for b in range(3)]
            sequences[2] = sequences[0][:128] + sequences[2][128:]
            tensors[name] = tensor("F32", [3, 20, 1, 8], sum(sequences, []))
        plain = self.run_on(PLAIN, tensors)
        table = [[4, 1], [0, 3], [4, 2]]
        for name, seed in (("past_key", 4), ("past_value", 5)):
            rows = numbers(3 * 20 * 8, seed)
            pages = [[9.0] * 128 for _ in range(5)]
            for b in range(3):
                for row in range(20):
                    if b == 2 and row < 16:
                        continue
                    at = (b * 20 + row) * 8
                    pages[table[b][row // 16]][row % 16 * 8:row % 16 * 8 + 8] = rows[at:at + 8]
            tensors[name] = tensor("F32", [5, 16, 1, 8], sum(pages, []))
        tensors["block_table"] = tensor("I32", [3, 2], sum(table, []))
        paged = self.run_on(PAGED, tensors)
        for name in plain:
            rows = 22 * 8 if name.startswith("present") else None
            # P counts whole pages here: present_* have more zeros.
            for b in range(3 if rows else 1):
                if rows:
                    wide = len(paged[name][2]) // 3
                    self.assertEqual(paged[name][2][b * wide:b * wide + rows], plain[name][2][b * rows:(b + 1) * rows])
                else:
                    self.assertEqual(paged[name], plain[name])
        self.run_on(PAGED, tensors, "--shared")

    def test_an_empty_past(self):
        tensors = self.inputs([0, 0])
        got = self.run_on(PLAIN, tensors)
        self.assertEqual(got["present_value"][2], tuple(numbers(2 * 2 * 8, 3)))

    def test_sizes(self):
        path = self.write("config.yaml", PAGED)
        for words in (["batch=2,query_length=1,cached=40,shared=32"], ["cached=0"]):
            self.run_tool(RUN, "--config", path, "--verify", "--size", *words)
            self.run_tool(RUN, "--config", path, "--verify", "--shared", "--size", *words)
        self.run_tool(RUN, "--config", path, "--size", "cached=63", code=2, says=["the capacity allows up to 60"])

    def test_halves(self):
        for dtype in ("bf16", "f16"):
            for layout in (PLAIN, PAGED):
                path = self.write("config.yaml", layout + f"dtype: {dtype}\n")
                self.run_tool(RUN, "--config", path, "--verify", "--size", "batch=2,query_length=3,cached=21")
            self.run_tool(RUN, "--config", path, "--verify", "--shared", "--size", "cached=37,shared=32")
            said = self.run_tool(GEN, "--config", path, "--explain").stdout
            self.assertIn("48 bytes a key, 768 a page, 3072 a full sequence", said)

    def test_calls_that_bring_no_keys(self):
        own = PLAIN.replace("mask: {causal: true}\n", "key_length: {min: 1, max: 9}\n")
        tensors = self.inputs([20, 3])
        want = self.run_on(own, tensors)
        # What the cache has after that call, as the past of one without key and value.
        again = {"query": tensors["query"], "cache_lengths": tensor("I32", [2], [22, 5])}
        for name in ("key", "value"):
            again["past_" + name] = tensor(*want["present_" + name])
        got = self.run_on(own, again)
        self.assertEqual(got, want)
        again["key"], again["value"] = tensor("F32", [2, 0, 1, 8], []), tensor("F32", [2, 0, 1, 8], [])
        self.assertEqual(self.run_on(own, again), want)
        self.run_on(own, again, "--size", "key_length=3", code=2, says=["brings no keys"])
        self.run_on(own, {**again, "key": tensor("F32", [2, 10, 1, 8], numbers(160, 2))}, code=2,
                    says=["key_length", "1 to 9"])
        del again["key"], again["value"]
        self.run_on(PLAIN, again, code=2, says=["'key'"])

    def test_keys_of_a_second_input(self):
        cross = """version: 1
name: cache_cross
d_model: 16
heads: 2
cross: true
batch: {min: 1, max: 2}
query_length: {min: 1, max: 4}
key_length: 50
kv_cache: {capacity: 50}
"""
        path = self.write("config.yaml", cross)
        for words in ("query_length=4,cached=0", "query_length=1,key_length=0,cached=50", "key_length=0,cached=0"):
            self.run_tool(RUN, "--config", path, "--verify", "--size", words)
        self.run_tool(RUN, "--config", path, "--size", "key_length=49", code=2, says=["50"])
        self.run_tool(RUN, "--config", path, "--size", "cached=1", code=2, says=["the capacity allows up to 0"])
        self.run_tool(GEN, "--config", path, "--output", "made")
        header = (self.dir / "made" / "cache_cross" / "cache_cross.h").read_text()
        self.assertIn("new keys Ln = 50; 0 in new_keys: none", header)
        self.assertIn("args.call.new_keys: 0 stands for none", header)
        # Without key_length, as many as queries, or none.
        path = self.write("config.yaml", cross.replace("key_length: 50\n", ""))
        for words in ("query_length=3,cached=9", "query_length=3,key_length=0,cached=9"):
            self.run_tool(RUN, "--config", path, "--verify", "--size", words)
        self.run_tool(RUN, "--config", path, "--size", "query_length=3,key_length=2", code=2, says=["must equal"])

    def test_what_mha_gen_says_of_the_cache(self):
        path = self.write("config.yaml", PAGED)
        self.run_tool(GEN, "--config", path, "--output", "made")
        folder = self.dir / "made" / "cache_paged"
        cache = json.loads((folder / "manifest.json").read_text())["cache"]
        # One head: 8 numbers of K, and of V 8 that are padded to 16.
        self.assertEqual((cache["bytes_per_key"], cache["bytes_per_page"], cache["bytes_per_sequence"]),
                         (96, 96 * 16, 96 * 64))
        self.assertIn("96 bytes a key, 1536 a page, 6144 a full sequence",
                      self.run_tool(GEN, "--config", path, "--explain").stdout)
        header = (folder / "cache_paged.h").read_text()
        for entry in ("append", "decode", "decode_shared", "cache_create"):
            self.assertIn(f"mha_status cache_paged_{entry}(", header)
        symbols = subprocess.run(["nm", "-g", "--defined-only", folder / "libcache_paged.a"], check=True,
                                 capture_output=True, text=True).stdout
        for entry in ("append", "decode", "decode_shared", "cache_create", "run"):
            self.assertIn(f" T cache_paged_{entry}\n", symbols)

    def test_refused(self):
        tensors = self.inputs([62])
        self.run_on(PLAIN, tensors, code=0)
        self.run_on(PLAIN, self.inputs([63]), code=2, says=["capacity"])
        # Lk of the weights is P and the new rows, though the sequence itself would fit.
        roomy = self.inputs([63])
        roomy["cache_lengths"] = tensor("I32", [1], [9])
        self.run_on(PLAIN, roomy)
        self.run_on(PLAIN + "outputs: [output, weights]\n", roomy, code=2, says=["'in': P = 63 and 2 new keys"])
        plain = self.write("none.yaml", PLAIN.replace("kv_cache: {capacity: 64}\n", ""))
        self.run_tool(RUN, "--config", plain, "--shared", code=2, says=["--shared", "no kv_cache"])


if __name__ == "__main__":
    unittest.main()
