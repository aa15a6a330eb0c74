"""ONNX `Attention` nodes as configs of ours, and running them: the mapping that docs/onnx.md describes."""

import dataclasses
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest

import ml_dtypes
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "common"))
import tensor_file  # noqa: E402

RUN = os.environ["MHA_RUN"]

# Which of our outputs the operator's fourth is, by qk_matmul_output_mode.
QK_OUTPUTS = ("scores", "scores_capped", "scores_masked", "weights")
FLOAT, DOUBLE = 1, 11  # of softmax_precision

# Numbers in a safetensors file.
DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16, "I32": np.int32, "I64": np.int64, "BOOL": np.bool_}
# Of a config. np.dtype.name is "bfloat16" of ml_dtypes' too.
CONFIG_DTYPES = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
BUILT_DTYPES = ("float32", "float16", "bfloat16")  # of CONFIG_DTYPES, those that this version generates
FLOATS = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}


class NotExpressible(Exception):
    """Why a node has no config of ours; the text is a row of a table in docs/onnx.md."""


@dataclasses.dataclass
class Node:
    """An `Attention` node with what it is given."""

    attributes: dict
    inputs: dict  # by the operator's names: Q, K, V, attn_mask, past_key, past_value, nonpad_kv_seqlen
    wants_qk: bool = False  # the output qk_matmul_output


@dataclasses.dataclass
class Translation:
    config: str
    tensors: dict  # the input of mha-run
    rank: int  # of Q, and so of Y
    qk_output: str | None  # our name of qk_matmul_output
    dtype: np.dtype  # of Q, and so of all outputs

    def outputs(self, ours):
        """The operator's outputs Y and qk_matmul_output out of ours."""
        y = ours["output"]
        found = {"Y": y if self.rank == 4 else y.reshape(*y.shape[:2], -1)}
        if self.qk_output:
            found["qk_matmul_output"] = ours[self.qk_output].astype(self.dtype)
        return found


def check_expressible(node):
    for name in ("Q", "K", "V"):
        if node.inputs[name].dtype.name not in BUILT_DTYPES:
            raise NotExpressible("f16 and bf16")
    if node.attributes.get("softmax_precision", FLOAT) not in (FLOAT, DOUBLE):
        raise NotExpressible("a softmax in less than f32")


def mask_for(mask, keys):
    """A mask as ours are: of rank 2 or more, over all keys. The operator's may end early; what it lacks is hidden."""
    mask = mask.reshape((1,) * (2 - mask.ndim) + mask.shape)
    padding = [(0, 0)] * (mask.ndim - 1) + [(0, keys - mask.shape[-1])]
    return np.pad(mask, padding, constant_values=False if mask.dtype == np.bool_ else -np.inf)


def translate(node, name="onnx", ranges=False):
    """The config and tensors for a node; with `ranges` each call gives its lengths. Throws NotExpressible."""
    check_expressible(node)
    attributes, inputs = node.attributes, node.inputs
    q, k, v = (inputs[letter] for letter in "QKV")
    rank = q.ndim
    if rank == 3:
        heads, kv_heads = attributes["q_num_heads"], attributes["kv_num_heads"]
        q = q.reshape(*q.shape[:2], heads, -1)
        k = k.reshape(*k.shape[:2], kv_heads, -1)
        v = v.reshape(*v.shape[:2], kv_heads, -1)
        head_axis, length_axis = 2, 1
    else:
        head_axis, length_axis = 1, 2

    tensors = {}
    dtype = q.dtype
    config = {"version": 1, "name": name, "op": "attention",
              "heads": q.shape[head_axis], "kv_heads": k.shape[head_axis],
              "d_head": q.shape[3], "d_value": v.shape[3],
              "layout": "bhsd" if rank == 4 else "bshd"}
    mask = {}
    past = inputs.get("past_key")
    if past is not None:  # always [B, G, L, D]
        def join(old, new):
            return np.concatenate((old if rank == 4 else old.swapaxes(1, 2), new), length_axis)

        k, v = join(past, k), join(inputs["past_value"], v)
        config["query_offset"] = "input"
        tensors["query_offset"] = np.full(q.shape[0], past.shape[2], np.int64)
    batch, queries, keys = q.shape[0], q.shape[length_axis], k.shape[length_axis]
    for key, length in (("batch", batch), ("query_length", queries), ("key_length", keys)):
        config[key] = {"min": 1, "max": 64} if ranges else length

    if attributes.get("scale"):
        config["scale"] = float(attributes["scale"])
    if attributes.get("softcap"):
        config["softcap"] = float(attributes["softcap"])
    if dtype != np.float32:
        config["dtype"] = CONFIG_DTYPES[dtype.name]
    if attributes.get("is_causal"):
        mask["causal"] = True
    left, right = (attributes.get(f"{side}_window_size", -1) for side in ("left", "right"))
    if left >= 0 or right >= 0:
        mask["window"] = {"left": left, "right": right}
    if inputs.get("nonpad_kv_seqlen") is not None:
        mask["key_lengths"] = True
        config["query_offset"] = "end"
        tensors["key_lengths"] = inputs["nonpad_kv_seqlen"]
    if inputs.get("attn_mask") is not None:
        tensors["mask"] = mask_for(inputs["attn_mask"], keys)
        mask["tensor"] = "bool" if tensors["mask"].dtype == np.bool_ else "additive"
    if mask:
        config["mask"] = mask
    qk_output = QK_OUTPUTS[attributes.get("qk_matmul_output_mode", 0)] if node.wants_qk else None
    config["outputs"] = ["output"] + ([qk_output] if qk_output else [])

    tensors.update(query=q, key=k, value=v)
    # JSON is YAML; numbers of it are decimal as ours must be.
    text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in config.items())
    return Translation(text, tensors, rank, qk_output, dtype)


def run(translation, folder, cache):
    """Runs mha-run, which checks its outputs against our own reference too; the operator's outputs."""
    folder = pathlib.Path(folder)
    (folder / "config.yaml").write_text(translation.config)
    tensor_file.write(folder / "in", {name: (NAMES[array.dtype], array.shape, np.ascontiguousarray(array).tobytes())
                                      for name, array in translation.tensors.items()})
    words = [RUN, "--config", folder / "config.yaml", "--input", folder / "in", "--output", folder / "out", "--verify"]
    words = [str(word) for word in words]
    result = subprocess.run(words, env=dict(os.environ, XDG_CACHE_HOME=str(cache)), text=True, timeout=120,
                            capture_output=True, check=False)
    if result.returncode != 0:
        raise AssertionError(f"{shlex.join(words)}\nexits with {result.returncode}:\n"
                             f"{result.stdout}{result.stderr}{translation.config}")
    return translation.outputs({name: np.frombuffer(raw, DTYPES[dtype]).reshape(shape)
                                for name, (dtype, shape, raw) in tensor_file.read(folder / "out").items()})


class TestCase(unittest.TestCase):
    """Tests that run nodes, with a folder and a cache of kernels for the class."""

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="mha-onnx-"))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def run_node(self, translation):
        return run(translation, self.folder, self.folder / "cache")
