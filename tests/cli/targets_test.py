"""Configs with several targets on the command lines.

Run one case with: MHA_GEN=.../mha-gen MHA_RUN=.../mha-run python3 targets_test.py TargetsTest.test_NAME
"""

import json
import unittest

from tool import BLOCK, GEN, RUN, ToolTest

# Of these the first runs on every machine that runs the tests.
TARGETS = ["x86-64-v2", "x86-64-v3", "zen4", "zen5", "sapphirerapids"]


class TargetsTest(ToolTest):
    known = {"block.yaml"}

    def setUp(self):
        super().setUp()
        self.config = self.write("block.yaml", BLOCK + f"targets: [{', '.join(TARGETS)}]\n")

    def explain(self, *more):
        report = json.loads(self.run_tool(GEN, "--config", self.config, "--explain", "--json", *more).stdout)
        return report["libraries"][0]

    def test_explain_shows_each(self):
        library = self.explain()
        order = ["zen5", "sapphirerapids", "zen4", "x86-64-v3", "x86-64-v2"]
        self.assertEqual(library["target"], ", ".join(order))
        self.assertEqual([kernel["target"] for kernel in library["manifest"]["kernels"]], order)
        for kernel in library["manifest"]["kernels"]:
            self.assertEqual(kernel["schedule"]["origin"], "default")
            self.assertTrue(kernel["stages"])
            self.assertGreater(kernel["bound"]["product_cycles"], 0)
        text = self.run_tool(GEN, "--config", self.config, "--explain").stdout
        for target in order:
            self.assertIn(f"op block for {target} ", text)
        self.assertIn("MHA_TARGET", text)

    def test_targets_of_the_command_line(self):
        library = self.explain("--target", "x86-64-v2", "--target", "zen4", "--target", "x86-64-v2")
        self.assertEqual(library["manifest"]["targets"], ["zen4", "x86-64-v2"])
        self.assertEqual(self.explain("--target", "zen4")["manifest"]["targets"], ["zen4"])
        self.run_tool(GEN, "--config", self.config, "--target", "zen4", "--target", "zen9", code=2, says=["zen9"])

    def test_each_is_verified(self):
        result = self.run_tool(RUN, "--config", self.config, "--verify", "--json")
        report = json.loads(result.stdout)
        self.assertTrue(report["verify"]["passed"])
        verified = [entry["target"] for entry in report["verify"]["targets"]]
        self.assertEqual(verified[0], report["target"])
        self.assertIn("x86-64-v2", verified)
        self.assertTrue(all(entry["passed"] for entry in report["verify"]["targets"]))
        # Whatever was not verified, was said to be left out.
        for target in set(TARGETS) - set(verified):
            self.assertIn(target, result.stderr)
        text = self.run_tool(RUN, "--config", self.config, "--verify").stdout
        self.assertEqual(text.count("verify output"), len(verified))

    def test_one_is_forced(self):
        words = [RUN, "--config", self.config, "--verify", "--json"]
        report = json.loads(self.run_tool(*words, env={"MHA_TARGET": "x86-64-v2"}).stdout)
        self.assertEqual(report["target"], "x86-64-v2")
        self.run_tool(*words, env={"MHA_TARGET": "zen44"}, code=2, says=["MHA_TARGET is 'zen44'", "x86-64-v2"])
        report = json.loads(self.run_tool(*words, "--target", "x86-64-v2").stdout)
        self.assertEqual(report["target"], "x86-64-v2")
        self.assertNotIn("targets", report["verify"])
        # A library for one target does not run as another.
        self.run_tool(*words, "--target", "x86-64-v2", env={"MHA_TARGET": "zen4"}, code=2,
                      says=["MHA_TARGET is 'zen4'", "was generated for x86-64-v2"])


if __name__ == "__main__":
    unittest.main()
