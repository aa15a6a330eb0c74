"""Random ONNX `Attention` nodes through mha-run, against the reference implementation of the onnx package in float64.

    MHA_RUN=.../mha-run python3 random_test.py [Random.test_7]

Number N is always the same node: the numbers are drawn from the seed N. Each config is called with several inputs.
"""

import itertools
import unittest

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

import attention

CONFIGS, CALLS = 32, 4
# Of an output. Rounded once more in its own dtype; in bf16 probabilities may be rounded too.
TOLERANCES = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 3e-2}
OPSET = 25
INPUTS = ("Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen")


def flip(random, probability=0.5):
    return bool(random.random() < probability)


class Shape:
    """What the calls of one config have in common: the node without its lengths."""

    def __init__(self, random):
        self.kv_heads = int(random.integers(1, 4))
        self.heads = self.kv_heads * int(random.integers(1, 4))
        self.d_head = int(random.choice([1, 7, 8, 16, 59, 64]))
        self.d_value = self.d_head if flip(random) else int(random.choice([1, 5, 16, 33]))
        self.rank = int(random.choice([3, 4]))
        self.mask = random.choice(["none", "bool", "additive"])
        self.cache = random.choice(["none", "past", "nonpad"])
        self.wants_qk = flip(random, 0.75)
        self.attributes = {}
        if self.rank == 3:
            self.attributes.update(q_num_heads=self.heads, kv_num_heads=self.kv_heads)
        if flip(random):
            self.attributes["is_causal"] = 1
        if flip(random):
            self.attributes["left_window_size"] = int(random.integers(-1, 8))
            self.attributes["right_window_size"] = int(random.integers(-1, 8))
        if flip(random, 0.3):
            self.attributes["scale"] = float(np.float32(random.uniform(0.01, 1)))
        if self.wants_qk:
            self.attributes["qk_matmul_output_mode"] = int(random.integers(0, 4))

    def draw_numbers(self, random):
        """What happens to the numbers, of a stream of its own."""
        self.dtype = attention.FLOATS[str(random.choice(attention.BUILT_DTYPES))]
        if flip(random, 0.3):
            self.attributes["softcap"] = float(random.choice([0.5, 2, 20]))
            # Mode 0 is the product before softcap by the operator's text; the reference gives it capped.
            if self.attributes.get("qk_matmul_output_mode") == 0:
                self.attributes["qk_matmul_output_mode"] = 1


def random_mask(random, kind, batch, heads, queries, keys):
    """Of any rank from 1 to 4 and any broadcast shape; hides some keys and a few whole rows."""
    # The operator's mask may be shorter than the keys; those beyond it are hidden.
    width = keys if flip(random, 0.8) else int(random.integers(1, keys + 1))
    shape = [extent if flip(random) else 1 for extent in (batch, heads, queries)] + [width]
    shape = shape[-int(random.choice([1, 2, 3, 3, 4, 4, 4, 4])):]
    shown = random.random(shape) < 0.8
    shown &= random.random(shape[:-1] + [1]) < 0.9
    if kind == "bool":
        return shown
    mask = random.standard_normal(shape).astype(np.float32)
    if flip(random, 0.2):  # what many programs write for minus infinity, but it is finite and hides nothing
        mask[random.random(shape) < 0.3] = np.finfo(np.float32).min
    mask[~shown] = -np.inf
    return mask


def random_node(random, shape):
    batch, queries, keys = (int(n) for n in random.integers(1, (4, 41, 49)))
    past = int(random.integers(1, 16)) if shape.cache == "past" else 0

    def tensor(heads, length, width):
        numbers = random.standard_normal((batch, heads, length, width), np.float32)
        return numbers if shape.rank == 4 else numbers.swapaxes(1, 2).reshape(batch, length, heads * width)

    inputs = {"Q": tensor(shape.heads, queries, shape.d_head),
              "K": tensor(shape.kv_heads, keys, shape.d_head),
              "V": tensor(shape.kv_heads, keys, shape.d_value)}
    if past:
        inputs["past_key"], inputs["past_value"] = (
            random.standard_normal((batch, shape.kv_heads, past, width), np.float32)
            for width in (shape.d_head, shape.d_value))
    if shape.cache == "nonpad":
        inputs["nonpad_kv_seqlen"] = random.integers(0, keys + 1, batch)
    if shape.mask != "none":
        inputs["attn_mask"] = random_mask(random, shape.mask, batch, shape.heads, queries, past + keys)
    for name, array in inputs.items():
        if array.dtype == np.float32:
            with np.errstate(over="ignore"):  # float32's lowest number is -inf in f16 and bf16, and hides there
                inputs[name] = array.astype(shape.dtype)
    return attention.Node(shape.attributes, inputs, shape.wants_qk)


def nodes(number):
    """The calls of config `number`."""
    random = np.random.default_rng(number)
    shape = Shape(random)
    shape.draw_numbers(np.random.default_rng((number, 1)))
    return [random_node(random, shape) for _ in range(CALLS)]


def features(node):
    """What a node has that another may lack."""
    inputs, attributes = node.inputs, node.attributes
    yield "Q", inputs["Q"].ndim
    yield "cache", "past" if "past_key" in inputs else "nonpad" if "nonpad_kv_seqlen" in inputs else "none"
    yield "causal", attributes.get("is_causal", 0)
    yield "scale", "scale" in attributes
    yield "softcap", "softcap" in attributes
    yield "dtype", inputs["Q"].dtype.name
    for side in ("left", "right"):
        yield f"{side} window", attributes.get(f"{side}_window_size", -1) >= 0
    yield "qk", attributes["qk_matmul_output_mode"] if node.wants_qk else "none"
    mask = inputs.get("attn_mask")
    if mask is not None:
        # Of which axes it has more than one element: of every rank, [Lk] to [B, H, Lq, Lk].
        yield "mask", "bool" if mask.dtype == np.bool_ else "additive", mask.ndim
        yield "mask axes", tuple(extent > 1 for extent in mask.shape[:-1])


def expected(node):
    """What the reference implementation says, in float64."""
    inputs = dict(node.inputs)
    mask = inputs.get("attn_mask")
    if mask is not None and node.attributes.get("is_causal") and (mask.ndim < 2 or mask.shape[-2] == 1):
        # The causal mask of the reference implementation has as many rows as attn_mask.
        queries = inputs["Q"].shape[-2 if inputs["Q"].ndim == 4 else 1]
        inputs["attn_mask"] = np.broadcast_to(mask, mask.shape[:-2] + (queries, mask.shape[-1]))
    for name, array in inputs.items():
        if array.dtype.name in attention.CONFIG_DTYPES:
            inputs[name] = array.astype(np.float64)
    outputs = ["Y", "", "", "qk_matmul_output"] if node.wants_qk else ["Y"]
    proto = onnx.helper.make_node("Attention", [name if name in inputs else "" for name in INPUTS], outputs,
                                  **node.attributes)
    infos = [onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
             for name, array in inputs.items()]
    named = [name for name in outputs if name]
    results = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, None) for name in named]
    model = onnx.helper.make_model(onnx.helper.make_graph([proto], "random", infos, results),
                                   opset_imports=[onnx.helper.make_opsetid("", OPSET)])
    return dict(zip(named, ReferenceEvaluator(model).run(named, inputs)))


class Random(attention.TestCase):
    def check(self, number):
        for call, node in enumerate(nodes(number)):
            translation = attention.translate(node, ranges=True)
            got = self.run_node(translation)
            shapes = {name: array.shape for name, array in node.inputs.items()}
            for name, want in expected(node).items():
                self.assertEqual(got[name].shape, want.shape, name)
                # The scores' rounding is as large as the scores are; mha-run --verify holds each to its own bound.
                error = TOLERANCES[node.inputs["Q"].dtype.name]
                np.testing.assert_allclose(got[name].astype(np.float64), want, rtol=error, atol=error,
                                           err_msg=f"{name}, call {call}: {shapes}\n{translation.config}")

    def test_that_all_of_the_operator_is_drawn(self):
        drawn = {feature for number in range(CONFIGS) for node in nodes(number) for feature in features(node)}
        wanted = {("Q", 3), ("Q", 4), ("cache", "none"), ("cache", "past"), ("cache", "nonpad"), ("qk", "none")}
        wanted |= {("qk", mode) for mode in range(4)} | {("causal", flag) for flag in (0, 1)}
        wanted |= {(name, flag) for name in ("scale", "softcap", "left window", "right window") for flag in (False, True)}
        wanted |= {("dtype", dtype) for dtype in attention.BUILT_DTYPES}
        wanted |= {("mask", dtype, rank) for dtype in ("bool", "additive") for rank in range(1, 5)}
        wanted |= {("mask axes", axes) for rank in range(4) for axes in itertools.product((False, True), repeat=rank)}
        self.assertEqual(wanted - drawn, set())


for n in range(CONFIGS):
    setattr(Random, f"test_{n}", lambda self, number=n: self.check(number))

if __name__ == "__main__":
    unittest.main()
