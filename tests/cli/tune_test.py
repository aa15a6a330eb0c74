"""mha-tune as a user meets it: records, the database, resuming, bad arguments.

Run one case with: MHA_TUNE=.../mha-tune MHA_GEN=... MHA_RUN=... python3 tune_test.py TuneTest.test_NAME
"""

import json
import os
import signal
import sqlite3
import subprocess
import time
import unittest

from tool import GEN, ToolTest

TUNE = os.environ["MHA_TUNE"]

TINY = """version: 1
name: cli_tune
op: attention
heads: 2
d_head: 16
query_length: 33
"""


class TuneTest(ToolTest):
    def setUp(self):
        super().setUp()
        self.config = self.write("tiny.yaml", TINY)
        self.database = self.dir / "tuning.db"

    def tune(self, *words, **options):
        return self.run_tool(TUNE, "--config", self.config, "--database", self.database, *words, **options)

    def tuned(self, *words):
        return json.loads(self.tune("--json", *words).stdout)["kernels"][0]

    def rows(self):
        connection = sqlite3.connect(self.database)
        try:
            self.assertEqual(connection.execute("PRAGMA integrity_check").fetchone(), ("ok",))
            return connection.execute("SELECT count(*) FROM trial").fetchone()[0]
        finally:
            connection.close()

    def test_help_and_version(self):
        text = self.run_tool(TUNE, "--help").stdout
        for word in ("--config", "--budget", "--database", "replay", "merge", "list"):
            self.assertIn(word, text)
        self.assertRegex(self.run_tool(TUNE, "--version").stdout, r"^mha-tune \d+\.\d+\.\d+\n$")

    def test_tunes_and_remembers(self):
        first = self.tuned("--trials", 6)
        self.assertEqual(first["name"], "cli_tune")
        self.assertEqual((first["trials"], first["remembered"]), (6, 0))
        records = self.dir / "mha-records" / (first["target"] + ".yaml")
        origin = "record" if records.exists() else "default"
        self.assertEqual(first["schedule"]["origin"], origin)
        self.assertEqual(first["record"], str(records) if origin == "record" else None)
        if origin == "record":
            self.assertGreater(first["certificate"]["low"], 1)
        else:
            self.assertTrue(first["note"])
        # mha-gen takes it without being told.
        explained = json.loads(self.run_tool(GEN, "--config", self.config, "--explain", "--json").stdout)
        self.assertEqual(explained["libraries"][0]["manifest"]["schedule"]["origin"], origin)

        rows = self.rows()
        again = self.tuned("--trials", 6)
        self.assertEqual((again["trials"], again["remembered"]), (6, 6))
        self.assertEqual(again["schedule"], first["schedule"])
        self.assertEqual(self.rows(), rows)
        # More of the same search: what is known is not measured again.
        more = self.tuned("--trials", 8)
        self.assertEqual((more["trials"], more["remembered"]), (8, 6))

        listed = json.loads(self.run_tool(TUNE, "list", "--database", self.database, "--json").stdout)
        self.assertEqual(len(listed["subjects"]), 1)
        self.assertEqual(listed["subjects"][0]["trials"], self.rows())
        replayed = json.loads(self.run_tool(TUNE, "replay", "--config", self.config, "--database", self.database,
                                            "--json").stdout)["kernels"][0]["stages"][0]
        self.assertEqual((replayed["trials"], replayed["skipped"]), (8, 0))
        self.assertAlmostEqual(replayed["gain"], more["stage_gains"]["attention"])
        # Its rows in another file.
        other = self.dir / "other.db"
        for _ in range(2):
            self.run_tool(TUNE, "merge", self.database, "--database", other)
            text = self.run_tool(TUNE, "list", "--database", other, "--json").stdout
            self.assertEqual(json.loads(text), listed)

    def test_a_range_of_lengths(self):
        self.config = self.write("range.yaml", TINY.replace("query_length: 33", "query_length: {min: 16, max: 17}"))
        first = self.tuned("--trials", 6, "--max-variants", 2)
        lengths = [entry["query_length"] for entry in first["sampled"]]
        self.assertEqual(lengths, [16, 17])
        self.assertEqual(first["trials"], sum(entry["trials"] for entry in first["sampled"]))
        self.assertEqual(first["variants"][-1]["to"], 17)
        explained = json.loads(self.run_tool(GEN, "--config", self.config, "--explain", "--json").stdout)
        manifest = explained["libraries"][0]["manifest"]
        if first["record"]:
            self.assertLessEqual(len(first["variants"]), 2)
            self.assertEqual(manifest["schedule"]["origin"], "record")
            for entry in first["sampled"]:
                self.assertTrue(entry["default"] or entry["certificate"]["low"] > 1)
        else:
            self.assertTrue(first["note"])
            self.assertEqual(manifest["schedule"]["origin"], "default")
        # Each length is a subject; none of them is measured twice.
        rows = self.rows()
        listed = json.loads(self.run_tool(TUNE, "list", "--database", self.database, "--json").stdout)
        self.assertEqual(len(listed["subjects"]), len(lengths))
        again = self.tuned("--trials", 6, "--max-variants", 2)
        self.assertEqual(again["remembered"], again["trials"])
        self.assertEqual((again["variants"], again["sampled"]), (first["variants"], first["sampled"]))
        self.assertEqual(self.rows(), rows)

    def start(self, *words):
        return subprocess.Popen([TUNE, "--config", self.config, "--database", self.database, *words], cwd=self.dir,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait_for_rows(self, count, process):
        end = time.monotonic() + 100
        while time.monotonic() < end and process.poll() is None:
            try:
                if self.rows() >= count:
                    return
            except sqlite3.Error:
                pass
            time.sleep(0.02)
        self.fail("no rows come: " + str(process.poll()))

    def test_killed_and_taken_up(self):
        process = self.start("--trials", "500")
        self.wait_for_rows(4, process)
        process.kill()
        process.communicate()
        rows = self.rows()
        self.assertGreaterEqual(rows, 4)
        resumed = self.tuned("--trials", 7)
        self.assertEqual(resumed["remembered"], min(rows - 1, 7))  # but the default's

    def test_stops_when_asked(self):
        process = self.start("--trials", "500")
        self.wait_for_rows(3, process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1, out + err)
        self.assertIn("run the same command again", err)

    def test_the_budget_holds(self):
        began = time.monotonic()
        self.tuned("--budget", "6s")
        self.assertLess(time.monotonic() - began, 16)

    def test_bad_arguments(self):
        for words, says in [(["--strategy", "luck"], ["luck", "evolution", "random", "exhaustive"]),
                            (["--budget", "soon"], ["--budget", "10m"]), (["--budget", "10"], ["--budget"]),
                            (["--budget", "-1s"], ["--budget"]), (["--trials", "0"], ["--trials"]),
                            (["--budget", "1s", "--trials", "3"], ["--trials"]),
                            (["--threads", "0"], ["--threads"]), (["--max-variants", "7"], ["--max-variants"]),
                            (["--target", "pdp11"], ["pdp11", "zen5"]),
                            (["--schedules", "nowhere"], ["nowhere"]), (["guess"], ["guess"])]:
            self.tune(*words, code=2, says=says)
        self.run_tool(TUNE, "--trials", 3, code=2, says=["--config"])
        self.run_tool(TUNE, "--config", "missing.yaml", "--trials", 3, code=2, says=["missing.yaml"])
        self.run_tool(TUNE, "merge", code=2, says=["FILE"])
        self.assertFalse(self.database.exists())

    def test_bad_databases(self):
        for path, text in [("text.db", "not a database of ours, by far too much text for one\n" * 40), ("empty", None)]:
            path = self.dir / path
            if text is None:
                path.mkdir()
            else:
                path.write_text(text)
            self.run_tool(TUNE, "--config", self.config, "--trials", 1, "--database", path, code=2, says=[path.name])
        foreign = self.dir / "foreign.db"
        connection = sqlite3.connect(foreign)
        connection.execute("CREATE TABLE recipes (name TEXT)")
        connection.commit()
        connection.close()
        before = foreign.read_bytes()
        self.run_tool(TUNE, "--config", self.config, "--trials", 1, "--database", foreign, code=2, says=["foreign.db"])
        self.assertEqual(foreign.read_bytes(), before)
        self.run_tool(TUNE, "--config", self.config, "--trials", 1, "--database", self.dir / "no" / "folder.db", code=2,
                      says=["folder.db"])


if __name__ == "__main__":
    unittest.main()
