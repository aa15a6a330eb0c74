"""The conformance cases of ONNX `Attention` (all opsets), run through mha-run.

    MHA_RUN=.../mha-run python3 conformance_test.py [Conformance.test_attention_4d]

The cases and what they expect are those of the onnx package. docs/onnx.md says which of them are run and why
others are not; the test holds it to that, case by case and in number.
"""

import collections
import pathlib
import re
import unittest
import warnings

import numpy as np
import onnx
from onnx.backend.test.case.node import collect_testcases

import attention

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs/onnx.md"
OPSET = 25  # the newest with a new Attention
WHOLE, JOINED = "run whole", "run with the past joined to K and V"


def collect():
    """The cases by name. Each has a twin ..._expanded with the same numbers, whose node is the operator's body."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other operators' cases overflow on purpose
        cases = collect_testcases("Attention")
    return {case.name: case for case in cases if case.model.graph.node[0].op_type == "Attention"
            and "_expanded" not in case.name}


CASES = collect()


def node_of(case):
    """The case's node, and its expected outputs by the operator's names."""
    (proto,) = case.model.graph.node
    schema = onnx.defs.get_schema("Attention", OPSET)

    def by_name(formal, given, arrays):
        arrays = iter(arrays)
        return {formal[i].name: next(arrays) for i, name in enumerate(given) if name}

    inputs, outputs = case.data_sets[0]
    expected = by_name(schema.outputs, proto.output, outputs)
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
    node = attention.Node(attributes, by_name(schema.inputs, proto.input, inputs), "qk_matmul_output" in expected)
    return node, expected


def verdict(case):
    node, _ = node_of(case)
    try:
        attention.translate(node)
    except attention.NotExpressible as reason:
        return str(reason)
    return JOINED if "past_key" in node.inputs else WHOLE


def near(got, want, **tolerances):
    """In float64: numpy does not know bfloat16."""
    np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), **tolerances)


def rows_of(page, heading):
    """The rows of the table under a heading of docs/onnx.md, without its head."""
    section = page.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")]
    return rows[2:]


class Conformance(attention.TestCase):
    def check(self, case):
        node, expected = node_of(case)
        got = self.run_node(attention.translate(node))
        compared = 0
        for name, want in expected.items():
            if name.startswith("present_"):
                continue
            self.assertEqual(got[name].shape, want.shape, name)
            # What the backend test of onnx demands, then what float32 can do.
            self.assertEqual(got[name].dtype, want.dtype, name)
            bf16 = want.dtype.name == "bfloat16"
            near(got[name], want, rtol=2**-6 if bf16 else case.rtol, atol=case.atol, err_msg=name)
            if want.dtype == np.float32:
                near(got[name], want, rtol=1e-5, atol=2e-6, err_msg=name)
            compared += 1
        self.assertEqual(compared, 2 if node.wants_qk else 1)

    def test_number_of_cases(self):
        """Each case is run, or is of a kind that the page lists; in the numbers that it gives."""
        page = PAGE.read_text()
        listed = {row[0]: int(row[1]) for row in rows_of(page, "The conformance cases")}
        counted = collections.Counter(verdict(case) for case in CASES.values())
        self.assertEqual(dict(counted), listed)
        self.assertIn(f"the {len(CASES)} cases", page)

    def test_everything_of_the_operator_is_mapped(self):
        page = PAGE.read_text()
        schema = onnx.defs.get_schema("Attention", OPSET)
        names = [x.name for x in (*schema.inputs, *schema.outputs)] + list(schema.attributes)
        mapped = [name for row in rows_of(page, "The mapping") for name in re.findall(r"`(\w+)`", row[0])]
        self.assertEqual(sorted(mapped), sorted(names))


def add_case(name, case):
    setattr(Conformance, name, lambda self: self.check(case))


for case_name, a_case in CASES.items():
    if verdict(a_case) in (WHOLE, JOINED):
        add_case(case_name, a_case)

if __name__ == "__main__":
    unittest.main()
