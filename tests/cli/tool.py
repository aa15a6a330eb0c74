"""What the tests of the command lines share: running a tool, and safetensors files."""

import math
import os
import pathlib
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "common"))
import tensor_file  # noqa: E402

GEN = os.environ["MHA_GEN"]
RUN = os.environ["MHA_RUN"]

# The smallest block, its query weights under a name of a model's.
BLOCK = """version: 1
name: cli_block
op: block
d_model: 16
heads: 2
query_length: 5
weights_from: {w_q: "layer.{layer}.q"}
"""

# How struct writes the elements; of BF16 a test gives the bits.
CODES = {"F32": "f", "F64": "d", "F16": "e", "BF16": "H", "I32": "i", "I64": "q", "BOOL": "?", "U8": "B"}


def tensor(dtype, shape, values=None):
    """A tensor for write_safetensors: zeros, or the given numbers."""
    count = math.prod(shape)
    values = [0] * count if values is None else values
    return dtype, shape, struct.pack(f"<{count}{CODES[dtype]}", *values)


def write_safetensors(path, tensors):
    tensor_file.write(path, tensors)


def read_safetensors(path):
    """(dtype, shape, numbers) by name."""
    return {name: (dtype, shape, struct.unpack(f"<{math.prod(shape)}{CODES[dtype]}", raw))
            for name, (dtype, shape, raw) in tensor_file.read(path).items()}


class ToolTest(unittest.TestCase):
    known = set()  # files that setUp() writes

    @classmethod
    def setUpClass(cls):
        cls.root = pathlib.Path(tempfile.mkdtemp(prefix="mha-cli-"))
        # One cache for all cases, so that each kernel is generated once; never the user's own.
        cls.cache = cls.root / "cache"

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.root)

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(dir=self.root))

    def write(self, name, text):
        path = self.dir / name
        path.write_text(text)
        return path

    def assert_clean(self, folder=None, besides=()):
        """Nothing was left in the folder but what the test put there."""
        left = {p.name for p in pathlib.Path(folder or self.dir).iterdir()} - self.known - set(besides)
        self.assertEqual(left, set())

    def run_tool(self, *words, code=0, says=(), **options):
        """Runs a command; checks its exit code and what stands on stderr; returns it."""
        words = [str(word) for word in words]
        environment = dict(os.environ, XDG_CACHE_HOME=str(self.cache), NO_COLOR="1")
        environment.update(options.pop("env", {}))
        result = subprocess.run(
            words, env=environment, cwd=self.dir, text=True, timeout=120,
            stdout=options.pop("stdout", subprocess.PIPE), stderr=subprocess.PIPE, check=False, **options)
        command = shlex.join(words)
        self.assertEqual(result.returncode, code, f"{command}\n{result.stdout}\n{result.stderr}")
        for part in says:
            self.assertIn(part, result.stderr, command)
        if code != 0:
            self.assertTrue(result.stderr.strip(), f"{command}: failed without a message")
            if code == 2:
                self.assertNotIn("bug", result.stderr, command)
        return result
