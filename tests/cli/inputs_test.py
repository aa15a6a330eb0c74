"""What mha-run reads and writes for every kind of tensor: what it takes, and what it refuses in which words.

Run one case with: MHA_GEN=.../mha-gen MHA_RUN=.../mha-run python3 inputs_test.py InputsTest.test_NAME
"""

import itertools
import math
import struct
import unittest

from tool import RUN, ToolTest, read_safetensors, tensor, write_safetensors

# B up to 3, H 2, Lq up to 6, Lk 9, D 8.
MASKED = """version: 1
name: inputs_masked
op: attention
heads: 2
d_head: 8
batch: {min: 1, max: 3}
query_length: {min: 1, max: 6}
key_length: 9
mask: {tensor: additive}
"""
BOOL = MASKED.replace("masked", "bool").replace("additive", "bool")
STARTS = MASKED.replace("masked", "starts").replace("tensor: additive", "key_starts: true, key_lengths: true")
PACKED = """version: 1
name: inputs_packed
op: attention
heads: 2
d_head: 8
batch: {min: 1, max: 4}
query_length: {min: 2, max: 6}
packed: true
mask: {causal: true, key_lengths: true, key_starts: true}
outputs: [output, weights, mean_weights, lse, scores, scores_masked]
top_k: 2
"""
CROSS = """version: 1
name: inputs_cross
d_model: 16
heads: 2
query_length: 3
key_length: {min: 1, max: 5}
cross: true
"""


def numbers(count, seed):
    return [((i * 37 + seed * 11) % 29 - 14) / 8 for i in range(count)]


def random_like(shape, seed):
    return tensor("F32", shape, numbers(math.prod(shape), seed))


def masked_inputs(mask, batch=2, queries=4):
    return {"query": random_like([batch, queries, 2, 8], 1), "key": random_like([batch, 9, 2, 8], 2),
            "value": random_like([batch, 9, 2, 8], 3), "mask": mask}


def packed_inputs(starts=(0, 3, 3, 8), total=8, lead=(), **changed):
    batch = len(starts) - 1
    tensors = {name: random_like([*lead, total, 2, 8], seed)
               for seed, name in enumerate(("query", "key", "value"))}
    tensors["sequence_starts"] = tensor("I32", [batch + 1], list(starts))
    tensors["key_lengths"] = tensor("I32", [batch], [b - a for a, b in itertools.pairwise(starts)])
    tensors["key_starts"] = tensor("I32", [batch])
    tensors.update(changed)
    return tensors


class InputsTest(ToolTest):
    def run_on(self, config, tensors, *words, out="out", **options):
        """Runs a config on tensors; the outputs, or None where it must fail."""
        write_safetensors(self.dir / "in", tensors)
        path = self.write("config.yaml", config)
        (self.dir / out).unlink(missing_ok=True)
        self.run_tool(RUN, "--config", path, "--input", "in", "--output", out, *words, **options)
        if options.get("code"):
            self.assertFalse((self.dir / out).exists(), "something was written")
            return None
        return read_safetensors(self.dir / out)

    def refused(self, config, tensors, *says):
        with self.subTest(says=says):
            self.run_on(config, tensors, code=2, says=["'in'", *says])

    # --- mask tensors ---

    def test_masks_that_do_not_fit(self):
        full = "expected F32, F16 or BF16 [2,2,4,9] (B,H,Lq,Lk)"
        for mask in (tensor("F32", [9]), tensor("F32", [1, 2, 2, 4, 9]), tensor("F32", []),
                     tensor("F32", [4, 8]), tensor("F32", [3, 9]), tensor("F32", [3, 4, 9]),
                     tensor("F32", [3, 2, 4, 9]), tensor("F32", [2, 4, 4, 9]), tensor("F32", [0, 9]),
                     tensor("BOOL", [4, 9]), tensor("F64", [4, 9]), tensor("I32", [4, 9])):
            shape = "[" + ",".join(map(str, mask[1])) + "]"
            self.refused(MASKED, masked_inputs(mask), "tensor 'mask' is ", shape, full, "any axis may be 1")
        for dtype in ("F32", "I32"):
            self.refused(BOOL, masked_inputs(tensor(dtype, [4, 9])), f"'mask' is {dtype} [4,9]",
                         "expected BOOL or U8 [2,2,4,9]")
        without = masked_inputs(None)
        del without["mask"]
        self.refused(MASKED, without, "has no tensor 'mask'", full)
        self.refused(MASKED.replace("mask:", "scale: 1 #"), masked_inputs(tensor("F32", [4, 9])), "'mask'",
                     "does not read")

    def test_masks_of_every_shape(self):
        """Of every rank and broadcast shape: the same bits as the mask written out in full."""
        full = [2, 2, 4, 9]
        for config, dtype, values in ((MASKED, "F32", [-math.inf, 0.5, -1.0, 0.0, 2.0]), (BOOL, "BOOL", [0, 1, 1])):
            for keep in itertools.product((False, True), repeat=4):
                shape = [n if k else 1 for n, k in zip(full, keep)]
                given = [values[(i * 7) % len(values)] for i in range(math.prod(shape))]
                strides = [math.prod(shape[axis + 1:]) if shape[axis] > 1 else 0 for axis in range(4)]
                whole = [given[sum(i * s for i, s in zip(index, strides))]
                         for index in itertools.product(*map(range, full))]
                want = self.run_on(config, masked_inputs(tensor(dtype, full, whole)), "--verify")
                # Leading axes of 1 may be missing.
                for first in range(3):
                    with self.subTest(dtype=dtype, shape=shape[first:]):
                        self.assertEqual(self.run_on(config, masked_inputs(tensor(dtype, shape[first:], given))), want)
                    if keep[first]:
                        break

    def test_dtypes_of_masks(self):
        values = [(i % 5) * 0.25 - 0.5 for i in range(36)]
        values[4] = -math.inf
        want = self.run_on(MASKED, masked_inputs(tensor("F32", [4, 9], values)), "--verify")
        self.assertEqual(self.run_on(MASKED, masked_inputs(tensor("F16", [4, 9], values))), want)
        bits = [struct.unpack("<I", struct.pack("<f", value))[0] >> 16 for value in values]
        self.assertEqual(self.run_on(MASKED, masked_inputs(tensor("BF16", [4, 9], bits))), want)
        bools = [i % 3 != 0 for i in range(36)]
        want = self.run_on(BOOL, masked_inputs(tensor("BOOL", [4, 9], bools)), "--verify")
        self.assertEqual(self.run_on(BOOL, masked_inputs(tensor("U8", [4, 9], [255 * b for b in bools]))), want)

    # --- index tensors ---

    def test_values_out_of_range(self):
        good = masked_inputs(None)
        del good["mask"]
        good.update(key_starts=tensor("I32", [2]), key_lengths=tensor("I32", [2], [9, 9]))
        for name in ("key_starts", "key_lengths"):
            for value in (-1, 10):
                self.refused(STARTS, {**good, name: tensor("I64", [2], [0, value])}, f"{name}[1] is {value}",
                             "0 to 9, the keys of sequence 1")
            self.refused(STARTS, {**good, name: tensor("F32", [2])}, f"'{name}' is F32 [2]", "I32 or I64 [2] (B)")
            self.refused(STARTS, {**good, name: tensor("I32", [1, 2])}, f"'{name}' is I32 [1,2]", "[2] (B)")
        self.run_on(STARTS, {**good, "key_starts": tensor("I64", [2], [3, 9])}, "--verify")
        offset = STARTS + "query_offset: input\n"
        for value in (-(1 << 30) - 1, (1 << 30) + 1):
            self.refused(offset, {**good, "query_offset": tensor("I32", [2], [0, value])},
                         f"query_offset[1] is {value}", "-1073741824 to 1073741824")
        self.run_on(offset, {**good, "query_offset": tensor("I32", [2], [-(1 << 30), 1 << 30])}, "--verify")

    # --- cross attention ---

    def test_memory(self):
        x = random_like([1, 3, 16], 1)
        result = self.run_on(CROSS, {"x": x, "memory": random_like([1, 4, 16], 2)}, "--verify")
        self.assertEqual(result["output"][1], [1, 3, 16])
        self.refused(CROSS, {"x": x}, "has no tensor 'memory'", "[1,5,16] (B,Lk,M)")
        self.refused(CROSS, {"x": x, "memory": tensor("F32", [1, 6, 16])}, "'memory' is [1,6,16]", "key_length is 6",
                     "1 to 5")
        self.refused(CROSS, {"x": x, "memory": tensor("F32", [1, 4, 15])}, "'memory' is F32 [1,4,15]", "[1,4,16]")
        self.refused(CROSS, {"x": x, "memory": tensor("F32", [2, 4, 16])}, "'memory' is F32 [2,4,16]", "[1,4,16]")

    # --- packed batches ---

    def test_packed_batches_that_do_not_fit(self):
        def starts(*values, dtype="I32"):
            return packed_inputs(sequence_starts=tensor(dtype, [len(values)], list(values)))

        without = packed_inputs()
        del without["sequence_starts"]
        cases = [
            (without, ["has no tensor 'sequence_starts'", "(B+1)"]),
            (starts(0, 3, 3, 8, dtype="F32"), ["'sequence_starts' is F32 [4]", "I32 or I64"]),
            (packed_inputs(sequence_starts=tensor("I32", [4, 1])), ["'sequence_starts' is I32 [4,1]"]),
            (starts(0), ["'sequence_starts' is [1] (B+1), so batch is 0", "1 to 4"]),
            (starts(0, 1, 2, 3, 4, 5), ["so batch is 5", "1 to 4"]),
            (starts(1, 3, 3, 8), ["sequence_starts[0] is 1", "starts at 0"]),
            (starts(0, 4, 3, 8), ["sequence_starts[2] is 3", "the start before it, 4"]),
            (starts(0, 1, 1, 8), ["sequence_starts[3] is 8", "sequence 2 has 7 rows", "allows 6"]),
            (starts(0, 0, 0, 0), ["all sequences are empty"]),
            (starts(0, 3, 3, 7), ["'query' is F32 [8,2,8]", "[7,2,8] (T,H,D)", "an axis of 1"]),
            (packed_inputs(value=random_like([2, 8, 2, 8], 1)), ["'value' is F32 [2,8,2,8]", "[8,2,8] (T,G,D"]),
            (packed_inputs(key_lengths=tensor("I32", [3], [3, 1, 5])), ["key_lengths[1] is 1", "0 to 0", "sequence 1"]),
            (packed_inputs(key_starts=tensor("I32", [3], [0, 0, 6])), ["key_starts[2] is 6", "0 to 5"]),
            (packed_inputs(key_starts=tensor("I32", [4])), ["'key_starts' is I32 [4]", "[3] (B)"]),
        ]
        for tensors, says in cases:
            self.refused(PACKED, tensors, *says)
        for size, says in (("batch=2", ["batch=2", "[4] (B+1)"]), ("query_length=4", ["5 rows", "allows 4"])):
            self.run_on(PACKED, packed_inputs(), "--size", size, code=2, says=says)

    def test_packed_batches(self):
        result = self.run_on(PACKED, packed_inputs(), "--verify")
        shapes = {name: shape for name, (_, shape, _) in result.items()}
        # Lk is the longest sequence.
        self.assertEqual(shapes, {"output": [8, 2, 8], "weights": [2, 8, 5], "mean_weights": [8, 5], "lse": [2, 8],
                                  "scores": [2, 8, 5], "scores_masked": [2, 8, 5],
                                  "top_weights": [2, 8, 2], "top_indices": [2, 8, 2]})
        self.assertEqual(result["top_indices"][0], "I32")
        # As one sequence of a batch, with a leading axis: the same numbers, and the axis again.
        again = self.run_on(PACKED, packed_inputs(lead=[1]))
        self.assertEqual({name: (dtype, shape[1:], values) for name, (dtype, shape, values) in again.items()}, result)
        self.assertTrue(all(shape[0] == 1 for _, shape, _ in again.values()))
        # A wider call gives wider rows.
        wide = self.run_on(PACKED, packed_inputs(), "--size", "query_length=6", "--verify")
        self.assertEqual(wide["weights"][1], [2, 8, 6])
        # Shorter sequences than the config's least length: the call's length is that least.
        short = self.run_on(PACKED, packed_inputs((0, 1), 1), "--verify")
        self.assertEqual(short["weights"][1], [2, 1, 2])

    # --- outputs ---

    def test_outputs(self):
        config = STARTS.replace("starts\n", "outputs\n") + "outputs: [scores_masked, mean_weights, scores]\ntop_k: 3\n"
        good = masked_inputs(None)
        del good["mask"]
        good.update(key_starts=tensor("I32", [2], [0, 7]), key_lengths=tensor("I32", [2], [9, 8]))
        result = self.run_on(config, good, "--verify")
        self.assertEqual({name: (dtype, shape) for name, (dtype, shape, _) in result.items()},
                         {"mean_weights": ("F32", [2, 4, 9]), "scores": ("F32", [2, 2, 4, 9]),
                          "scores_masked": ("F32", [2, 2, 4, 9]), "top_weights": ("F32", [2, 2, 4, 3]),
                          "top_indices": ("I32", [2, 2, 4, 3])})
        # The second sequence sees key 7 alone.
        self.assertEqual(result["top_indices"][2][-3:], (7, -1, -1))
        self.assertEqual(result["top_weights"][2][-3:], (1.0, 0.0, 0.0))
        self.assertEqual(result["scores_masked"][2][-9:-2], (-math.inf,) * 7)
        self.assertEqual(result["scores_masked"][2][-2], result["scores"][2][-2])

    # --- random tensors ---

    def test_random_inputs_are_valid(self):
        for config in (MASKED, BOOL, STARTS, PACKED, CROSS, PACKED.replace("mask: {", "mask: {tensor: bool, ")):
            path = self.write("config.yaml", config)
            for seed in range(3):
                self.run_tool(RUN, "--config", path, "--seed", seed, "--verify", "--json")
            self.run_tool(RUN, "--config", path, "--size", "query_length=3", "--verify")


if __name__ == "__main__":
    unittest.main()
