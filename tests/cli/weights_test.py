"""A block's weights from files: in shards, fused, transposed, and those that are refused.

Run one case with: MHA_GEN=.../mha-gen MHA_RUN=.../mha-run python3 weights_test.py WeightsTest.test_NAME
"""

import json
import unittest

from tool import BLOCK, RUN, ToolTest, read_safetensors, tensor, write_safetensors

# As GPT-2 has its weights: transposed, q, k and v in one. Here with fewer KV heads and another value width.
FUSED = """version: 1
name: cli_fused
d_model: 12
heads: 2
kv_heads: 1
d_head: 5
d_value: 3
query_length: 7
projection_bias: {q: true, k: true, v: true}
mask: {causal: true}
weights_from:
  w_q: {name: "h.{layer}.c_attn.weight", transpose: true, rows: [0, 10]}
  w_k: {name: "h.{layer}.c_attn.weight", transpose: true, rows: [10, 15]}
  w_v: {name: "h.{layer}.c_attn.weight", transpose: true, rows: [15, 18]}
  b_q: {name: "h.{layer}.c_attn.bias", rows: [0, 10]}
  b_k: {name: "h.{layer}.c_attn.bias", rows: [10, 15]}
  b_v: {name: "h.{layer}.c_attn.bias", rows: [15, 18]}
  w_o: {name: "h.{layer}.c_proj.weight", transpose: true}
"""


def block_weights():
    weight = [0.0625 * ((i * 7) % 13 - 6) for i in range(256)]
    return {
        "layer.3.q": tensor("F32", [16, 16], weight),
        "w_k": tensor("F32", [16, 16], weight[::-1]),
        "w_v": tensor("F32", [16, 16], weight),
        "w_o": tensor("F32", [16, 16], weight[::-1]),
    }


class WeightsTest(ToolTest):
    known = {"block.yaml"}

    def setUp(self):
        super().setUp()
        self.block = self.write("block.yaml", BLOCK)

    def test_weights_that_do_not_fit(self):
        path = self.dir / "w"
        words = [RUN, "--config", self.block, "--weights", path, "--layer", "3"]
        self.run_tool(*words, code=2, says=[str(path)])
        good = block_weights()
        write_safetensors(path, good)
        self.run_tool(*words, "--verify")
        self.run_tool(*words[:-1], "4", code=2, says=["layer.4.q"])
        write_safetensors(path, {**good, "w_v": tensor("F32", [16, 15])})
        self.run_tool(*words, code=2, says=["w_v", "[16,15]", "[16,16]"])
        write_safetensors(path, {**good, "w_v": tensor("I32", [16, 16])})
        self.run_tool(*words, code=2, says=["w_v"])
        write_safetensors(path, good)
        path.write_bytes(path.read_bytes()[:-4])
        self.run_tool(*words, code=2, says=["w"])
        config = self.write("attention.yaml", "version: 1\nname: a\nop: attention\nheads: 1\nd_head: 8\nquery_length: 1\n")
        self.run_tool(RUN, "--config", config, "--weights", path, code=2, says=["no weights"])
        self.assert_clean(besides=["w", "attention.yaml"])

    def test_fused_and_transposed_weights(self):
        """The same numbers plain, fused, and fused and transposed give the same bits."""
        def numbers(rows, columns, seed):
            return [[((seed + 31 * r + 17 * c) % 23 - 11) / 16 for c in range(columns)] for r in range(rows)]

        def matrix(rows):
            return tensor("F32", [len(rows), len(rows[0])], [value for row in rows for value in row])

        def turned(rows):
            return [list(column) for column in zip(*rows)]

        fused, out, bias = numbers(18, 12, 5), numbers(12, 6, 2), [i / 8 - 1 for i in range(18)]
        parts = {"q": (0, 10), "k": (10, 15), "v": (15, 18)}
        plain = {f"w_{n}": matrix(fused[a:b]) for n, (a, b) in parts.items()}
        plain.update({f"b_{n}": tensor("F32", [b - a], bias[a:b]) for n, (a, b) in parts.items()})
        write_safetensors(self.dir / "plain", {**plain, "w_o": matrix(out)})
        model = {"h.4.c_attn.weight": matrix(turned(fused)), "h.4.c_attn.bias": tensor("F32", [18], bias),
                 "h.4.c_proj.weight": matrix(turned(out))}
        write_safetensors(self.dir / "gpt", model)
        write_safetensors(self.dir / "in_proj", {**model, "h.4.c_attn.weight": matrix(fused)})
        config = self.write("gpt.yaml", FUSED)
        in_proj = self.write("in_proj.yaml", FUSED.replace("transpose: true, rows", "rows"))
        names = self.write("plain.yaml", FUSED[: FUSED.index("weights_from")])
        outputs = []
        for path, weights in ((names, "plain"), (config, "gpt"), (in_proj, "in_proj")):
            self.run_tool(RUN, "--config", path, "--weights", weights, "--layer", 4, "--verify", "--output", "out")
            outputs.append((self.dir / "out").read_bytes())
        self.assertEqual(outputs[0], outputs[1])
        self.assertEqual(outputs[0], outputs[2])
        # And over shards, of which one is not needed.
        for name in model:
            write_safetensors(self.dir / f"shard.{name}", {name: model[name]})
        self.write("index", json.dumps({"weight_map": {**{n: f"shard.{n}" for n in model}, "wte": "none"}}))
        self.run_tool(RUN, "--config", config, "--weights", "index", "--layer", 4, "--verify", "--output", "out")
        self.assertEqual(outputs[0], (self.dir / "out").read_bytes())

        for change, says in (({"h.4.c_attn.weight": matrix(fused)}, ["c_attn.weight", "[18,12]", "[12,10]"]),
                             ({"h.4.c_attn.weight": matrix(turned(fused[:17]))}, ["[12,17]", "[12,18]", "w_v"]),
                             ({"h.4.c_proj.weight": matrix(out)}, ["c_proj.weight", "[12,6]", "[6,12]"]),
                             ({"h.4.c_attn.bias": tensor("F32", [17], bias[:17])}, ["[17]", "[18]", "b_v"])):
            with self.subTest(says=says):
                write_safetensors(self.dir / "gpt", {**model, **change})
                self.run_tool(RUN, "--config", config, "--weights", "gpt", "--layer", 4, code=2, says=says)

    def test_sharded_weights(self):
        good = block_weights()
        write_safetensors(self.dir / "one", {k: good[k] for k in ("layer.3.q", "w_k")})
        write_safetensors(self.dir / "two", {k: good[k] for k in ("w_v", "w_o")})
        write_safetensors(self.dir / "all", good)
        index = {"weight_map": {"layer.3.q": "one", "w_k": "one", "w_v": "two", "w_o": "two"}}
        self.write("model.safetensors.index.json", json.dumps(index))
        words = [RUN, "--config", self.block, "--layer", "3", "--verify"]
        self.run_tool(*words, "--weights", "model.safetensors.index.json", "--output", "a")
        self.run_tool(*words, "--weights", "all", "--output", "b")
        self.assertEqual((self.dir / "a").read_bytes(), (self.dir / "b").read_bytes())
        # Names say nothing about what a file holds.
        self.write("index", "\n" + json.dumps(index))
        self.run_tool(*words, "--weights", "index", "--output", "c")
        self.assertEqual((self.dir / "a").read_bytes(), (self.dir / "c").read_bytes())
        write_safetensors(self.dir / "all.json", good)
        self.run_tool(*words, "--weights", "all.json", "--output", "d")
        self.assertEqual((self.dir / "a").read_bytes(), (self.dir / "d").read_bytes())

    def test_broken_index(self):
        write_safetensors(self.dir / "one", block_weights())
        names = {name: "one" for name in block_weights()}
        words = [RUN, "--config", self.block, "--layer", "3", "--weights", "index"]
        for index, says in (
            ({"weight_map": {**names, "w_k": "two"}}, ["two", "No such file"]),
            ({"weight_map": {**names, "w_k": 2}}, ["index", "w_k"]),
            ({"weight_map": {k: v for k, v in names.items() if k != "w_o"}}, ["'index'", "the index has no tensor 'w_o'"]),
            ({"weight_map": {k: v for k, v in names.items() if k != "layer.3.q"}},
             ["the index has no tensor 'layer.3.q'", "w_q"]),
            ({"weight_map": []}, ["weight_map"]),
            ({"metadata": {}}, ["weight_map"]),
        ):
            with self.subTest(says=says):
                self.write("index", json.dumps(index))
                self.run_tool(*words, code=2, says=says)
        self.assert_clean(besides=["one", "index"])


if __name__ == "__main__":
    unittest.main()
