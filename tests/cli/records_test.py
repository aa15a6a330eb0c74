"""Records that ship beside the programs: used without being told, shown with what was measured, and part of
the key of mha-run's cache."""

import html.parser
import json
import math
import os
import pathlib
import re
import shutil
import sqlite3
import struct
import unittest

from tool import GEN, RUN, ToolTest

TUNE = os.environ["MHA_TUNE"]

ATTENTION = """version: 1
name: cli_records
op: attention
heads: 2
d_head: 16
query_length: 24
"""

CERTIFICATE = """    certificate:
      gain: 1.25
      low: 1.125
      high: 1.5
      margin: 1.005
      error: 0.005
      pair_gains: [1.25, 1.5]
      seconds: [0.001, 0.0012]
      default_seconds: [0.00125, 0.0018]
      disturbed: 2
      lengths: "B=1 Lq=24 Lk=24"
      machine: "MACHINE"
      generator: "mha-gen 0.0.1"
      space: "01234567"
      time: "2026-01-31T12:00:00Z"
"""
NOWHERE = "Nobody 1/2/3 features=0x1 l1d=1 l2=2 l3=3 threads=4"


class RecordsTest(ToolTest):
    def setUp(self):
        super().setUp()
        self.config = self.write("c.yaml", ATTENTION)
        self.bin = self.dir / "prefix" / "bin"
        self.records = self.dir / "prefix" / "share" / "mha" / "records"
        for folder in (self.bin, self.records):
            folder.mkdir(parents=True)
        self.gen, self.runner = (shutil.copy(tool, self.bin) for tool in (GEN, RUN))

    def ship(self, certificate=None):
        """Makes a record of what --explain shows of the default, and ships it; returns the target."""
        report = json.loads(self.run_tool(self.gen, "--config", self.config, "--explain", "--json").stdout)
        library = report["libraries"][0]
        self.assertEqual(library["manifest"]["schedule"]["origin"], "default")
        stages = library["manifest"]["schedule"]["parameters"]
        lines = ["version: 1", f"target: {library['target']}", "records:",
                 '  - key: "attention layout=bshd B=1 Lq=24 Lk=Lq H=2 G=2 D=16 Dv=16 scale=0.25 offset=start '
                 'outputs=output"', "    threads: 1", "    stages:"]
        lines += [f"      {stage}: {json.dumps(parameters)}".replace('"', "")
                  for stage, parameters in stages.items()]
        path = self.records / f"{library['target']}.yaml"
        path.write_text("\n".join(lines) + "\n" + (certificate or ""))
        return path

    def explain(self, *words):
        return self.run_tool(self.gen, "--config", self.config, "--explain", *words).stdout

    def this_machine(self):
        self.ship(CERTIFICATE.replace("MACHINE", NOWHERE))
        return re.search("this machine is: (.*)", self.explain())[1]

    def test_used_and_explained(self):
        path = self.ship(CERTIFICATE.replace("MACHINE", NOWHERE))
        text = self.explain()
        for part in ("with the schedule (record)", f"from {path}", "1.250 times as fast as the default",
                     "between 1.125 and 1.500", "margin 1.005", "2 pairs of processes", "B=1 Lq=24 Lk=24",
                     f"certified on another machine: {NOWHERE}", "by mha-gen 0.0.1, schedule space 01234567",
                     "that is another version than this one: mha-gen "):
            self.assertIn(part, text)
        # A copy of the libraries' own account, without a word of the machine that reads it.
        manifest = json.loads(self.run_tool(
            self.gen, "--config", self.config, "--explain", "--json").stdout)["libraries"][0]["manifest"]
        self.assertEqual(manifest["schedule"]["file"], path.name)
        self.assertEqual(manifest["schedule"]["certificate"]["machine"], NOWHERE)
        self.assertEqual(manifest["schedule"]["certificate"]["low"], 1.125)

    def test_of_this_machine(self):
        here = self.this_machine()
        for record in self.records.iterdir():
            record.unlink()
        self.ship(CERTIFICATE.replace("MACHINE", here))
        text = self.explain()
        self.assertIn(f"certified on this machine: {here}", text)
        self.assertNotIn("another machine", text)
        report = json.loads(self.run_tool(self.gen, "--config", self.config, "--explain", "--json").stdout)
        self.assertTrue(report["libraries"][0]["certified_here"])

    def test_without_a_certificate(self):
        self.ship()
        self.assertIn("without a certificate", self.explain())
        self.assertNotIn("without a certificate", self.explain("--threads", "2"))

    def test_a_foreign_record_is_never_used_in_silence(self):
        self.ship(CERTIFICATE.replace("MACHINE", NOWHERE))
        made = [self.run_tool(self.gen, "--config", self.config, "--output", out,
                              says=["was certified on another machine: " + NOWHERE]) for out in ("a", "b")]
        self.assertEqual(len(made), 2)
        first, second = ({p.name: p.read_bytes() for p in (self.dir / out / "cli_records").iterdir()}
                         for out in ("a", "b"))
        self.assertEqual(first, second)

    def test_the_cache_of_mha_run_knows_them(self):
        def origin():
            result = self.run_tool(self.runner, "--config", self.config, "--bench", "--json", "--threads", "1")
            return json.loads(result.stdout)["schedule"]["origin"]
        self.assertEqual(origin(), "default")
        path = self.ship()
        self.assertEqual(origin(), "record")
        pathlib.Path(path).unlink()
        self.assertEqual(origin(), "default")

    def store(self, database, machine):
        """A certificate of the default's own parameters in the database, as this version would write it."""
        path = self.ship(CERTIFICATE.replace("MACHINE", NOWHERE))
        generator, space = re.search(r"than this one: (.*), schedule space (\w+)", self.explain()).groups()
        report = json.loads(self.run_tool(self.gen, "--config", self.config, "--explain", "--json").stdout)
        stages = report["libraries"][0]["manifest"]["schedule"]["parameters"]
        key = re.search('key: "(.*)"', path.read_text())[1]
        path.unlink()
        self.run_tool(TUNE, "list", "--database", database)
        text = "".join(f"{stage}: " + " ".join(f"{k}={v}" for k, v in parameters.items()) + "\n"
                       for stage, parameters in stages.items())
        samples = struct.pack("<2d", 0.1, 0.2)
        connection = sqlite3.connect(database)
        number = connection.execute("INSERT INTO subject VALUES (NULL, ?, ?, ?, ?, 1, ?, ?)", (
            key, "B=1 Lq=24 Lk=24", path.stem, machine, generator, space)).lastrowid
        connection.execute(
            "INSERT INTO certificate VALUES (NULL, ?, ?, 'tuned', ?, 1, 0.005, 0.005, 0.1, 0.15, 0.2, ?, ?, ?, 0, ?, "
            "?, ?, '2026-01-31T12:00:00Z')",
            (machine, number, text, samples, samples, samples, machine, generator, space))
        connection.commit()
        connection.close()
        return path

    def test_export(self):
        here = self.this_machine()
        for record in self.records.iterdir():
            record.unlink()
        database = self.dir / "tuning.db"
        words = [TUNE, "export", "--database", database, "--schedules", self.records]
        self.run_tool(*words[:-2], code=2, says=["--schedules"])
        path = self.store(database, NOWHERE)
        self.run_tool(*words, code=2, says=["no certified schedule of this machine", NOWHERE])
        self.assertFalse(path.exists())
        self.store(database, here)
        report = json.loads(self.run_tool(*words, "--json").stdout)
        self.assertEqual((report["added"], report["replaced"], report["file"]), (1, 0, str(path)))
        text = self.explain()
        self.assertIn(f"certified on this machine: {here}", text)
        self.assertIn(f"{math.exp(0.15):.3f} times as fast", text)
        first = path.read_bytes()
        self.run_tool(*words)
        self.assertEqual(path.read_bytes(), first)
        # Another machine's, when it is asked for by name, does not take the place of this one's.
        self.run_tool(*words, "--machine", NOWHERE, says=["stays", here])
        self.assertEqual(path.read_bytes(), first)
        self.run_tool(TUNE, "export", "--database", database, "--schedules", self.dir / "none", code=2, says=["none"])

    def test_report(self):
        self.run_tool(TUNE, "--config", self.config, "--database", self.dir / "tuning.db", "--trials", 3, "--report",
                      "page.html")
        page = (self.dir / "page.html").read_text()
        html.parser.HTMLParser().feed(page)
        for part in ("cli_records", "Stage <code>attention</code>", "query_block="):
            self.assertIn(part, page)
        self.run_tool(TUNE, "--config", self.config, "--database", self.dir / "tuning.db", "--trials", 3, "--report",
                      self.dir, code=2)


if __name__ == "__main__":
    unittest.main()
