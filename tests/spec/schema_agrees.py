"""configs/schema.json and the parser must judge alike.

Walks the schema, and from configs that are good makes thousands that differ in one place: every key with every
kind of value, at and beyond its bounds, unknown keys, missing keys. Each is judged by a validator of JSON Schema
(jsonschema) and by the parser's structural checks (spec_judge); the verdicts must be equal.
"""
import argparse
import copy
import json
import pathlib
import subprocess
import sys

try:
    import jsonschema
except ImportError:
    print("SKIPPED: this Python has no jsonschema")
    sys.exit(77)

BASES = [
    {"version": 1, "name": "t", "op": "attention", "heads": 8, "d_head": 64, "query_length": 16,
     "kv_heads": 2, "d_value": 32, "batch": {"min": 1, "max": 4}, "key_length": 32, "layout": "bhsd",
     "dtype": "f32", "scale": 0.5, "query_offset": "end", "softcap": 30.0, "alibi": True, "sink": False,
     "qk_norm": {"eps": 1e-6, "weight_offset": 1, "width": "all", "order": "before_rope"},
     "rope": {"style": "half", "theta": 10000, "dims": 32, "scaling": {"type": "linear", "factor": 2}},
     "mask": {"causal": True, "window": {"left": 3, "right": -1}, "tensor": "bool", "key_lengths": True,
              "key_starts": False, "rule": "doc[q] == doc[k]"},
     "table": {"doc": ["Lk"], "bias": {"shape": ["H", 4], "dtype": "f32"}},
     "score_rule": "s + bias[h, q % 4]", "outputs": ["output", "lse"], "top_k": 2, "pruned_heads": [1, 3],
     "targets": ["zen4", "x86-64-v3"], "packed": False},
    {"version": 1, "name": "t", "op": "block", "d_model": 512, "heads": 8, "query_length": {"min": 1, "max": 16},
     "cross": True, "key_length": 5, "weights": "f16", "projection_bias": {"q": True, "k": False, "out": True},
     "weights_from": {"w_q": "a", "w_k": {"name": "b", "transpose": True, "rows": [0, 512]}},
     "kv_cache": {"capacity": 128, "layout": "paged", "page": 32},
     "rope": {"style": "interleaved",
              "scaling": {"type": "yarn", "factor": 4, "original_length": 64, "beta_fast": 32, "beta_slow": 1,
                          "attention_factor": 1.1, "mscale": 1, "mscale_all_dim": 0, "truncate": True}},
     "alibi": [1, 2, 3, 4, 5, 6, 7, 8]},
    {"version": 1, "name": "t", "op": "attention", "heads": 8, "d_head": 8, "query_length": 16,
     "rope": {"style": "half", "scaling": {"type": "llama3", "factor": 8, "low_freq_factor": 1,
                                           "high_freq_factor": 4, "original_length": 8192}}},
    {"version": 1, "name": "t", "op": "attention", "heads": 8, "d_head": 8, "query_length": 16,
     "rope": {"style": "half", "scaling": {"inv_freq": [1, 0.5, 0.25, 0.125], "attention_factor": 1}}},
    {"version": 1, "name": "t", "d_model": 64, "heads": 8, "query_length": 16},
]

VALUES = [None, True, False, 0, 1, 2, 3, 15, 16, 64, -1, -2, 2147483647, 2147483648, 0.5, 0.99, 2.5, -0.5, 1e-6, "",
          "x", "8", "true", "q", "int", "mha_a", "halide", "a-b", "n" * 48, "n" * 49, [], {}, [0], [1], [1, 1], [0, 512],
          [1, 2, 3], [1, 2, 3, 4, 5], ["output"], ["output", "output"], ["host"], ["Lk"], ["Lk", 3], ["x"], [True],
          [0.5] * 8, [[1]], {"min": 1, "max": 2}, {"min": 1}, {"min": 0, "max": 1}, {"x": 1}, {"left": 1},
          {"name": "a"}, {"type": "linear"}, {"shape": ["B"]}, {"style": "half"}, {"capacity": 1}]


def enums(schema):
    """Every word of the schema, and a misspelt one of each."""
    found = set()
    if isinstance(schema, dict):
        for word in schema.get("enum", []) if "description" in schema or "type" not in schema else []:
            found.add(word)
        for name, value in schema.items():
            if name != "not":
                found |= enums(value)
    elif isinstance(schema, list):
        for value in schema:
            found |= enums(value)
    return found


def bounds(schema):
    found = set()
    if isinstance(schema, dict):
        for name in ("minimum", "maximum", "exclusiveMinimum"):
            if name in schema:
                found |= {schema[name] - 1, schema[name], schema[name] + 1}
        for value in schema.values():
            found |= bounds(value)
    elif isinstance(schema, list):
        for value in schema:
            found |= bounds(value)
    return {int(b) if b == int(b) else b for b in found}


def paths(value, path=()):
    """Every place in a config that can be changed."""
    if path:
        yield path
    if isinstance(value, dict):
        for key in value:
            yield from paths(value[key], path + (key,))
    elif isinstance(value, list):
        for i in range(len(value)):
            yield from paths(value[i], path + (i,))


def place(config, path):
    for step in path:
        config = config[step]
    return config


def mutants(schema):
    words = sorted(enums(schema))
    values = VALUES + sorted(bounds(schema))
    spelt = words + [w + "x" for w in words]
    top = list(schema["properties"])
    for base in BASES:
        yield base
        for path in paths(base):
            for value in values + (spelt if isinstance(place(base, path), str) else ["host"]):
                changed = copy.deepcopy(base)
                place(changed, path[:-1])[path[-1]] = value
                yield changed
            removed = copy.deepcopy(base)
            del place(removed, path[:-1])[path[-1]]
            yield removed
            if isinstance(place(base, path), dict):
                extra = copy.deepcopy(base)
                place(extra, path)["unknown_key"] = 1
                yield extra
        for key in top + ["unknown_key", "Heads"]:
            for value in values + words:
                changed = copy.deepcopy(base)
                changed[key] = value
                yield changed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--judge", required=True)
    parser.add_argument("--source", required=True, type=pathlib.Path)
    options = parser.parse_args()
    schema = json.loads((options.source / "configs" / "schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    # In draft-07 12.0 is an integer; the parser wants integers written as such. JSON keeps the difference.
    checker = jsonschema.Draft7Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool))
    validator = jsonschema.validators.extend(jsonschema.Draft7Validator, type_checker=checker)(schema)

    texts = sorted({json.dumps(config) for config in mutants(schema)})
    judged = subprocess.run([options.judge], input="\n".join(texts) + "\n", text=True, capture_output=True, check=True)
    verdicts = judged.stdout.splitlines()
    assert len(verdicts) == len(texts), (len(verdicts), len(texts))
    failures = goods = 0
    for text, verdict in zip(texts, verdicts):
        by_schema = validator.is_valid(json.loads(text))
        by_parser = not verdict.startswith("structure")
        goods += by_parser
        if by_schema != by_parser:
            failures += 1
            if failures <= 10:
                print(f"schema: {'good' if by_schema else 'bad'}, parser: {verdict}\n  {text}")
    print(f"{len(texts)} configs, {goods} of them good by both, {failures} judged differently")
    for base in BASES:
        verdict = verdicts[texts.index(json.dumps(base))]
        if verdict != "good":
            failures += 1
            print(f"a base config is not good: {verdict}")
    sys.exit(1 if failures or goods < 100 else 0)


if __name__ == "__main__":
    main()
