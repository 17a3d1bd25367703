#!/usr/bin/env python3
"""bench/store: a tiny run measures everything, its report says what was wanted, and nothing is left behind.

    store_check.py DIRECTORY_OF_STORE
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

STORE = Path(sys.argv.pop(1))
sys.path[:0] = [str(STORE), str(STORE.parent / "compare")]

import goals  # noqa: E402
import page  # noqa: E402
import section  # noqa: E402
import steps  # noqa: E402
from results import Key, Results, Run  # noqa: E402

BINARIES = Path(os.environ["STRATA_BIN_DIR"])


def run_of(*rows):
    made = Results()
    for key, who, values in rows:
        for number, value in enumerate(values):
            made.add(key, who, number, value)
    return Run({"processors": "2"}, 3, [], {}, made)


def judgement(run, what, wanted):
    return next(row[2] for row in section.verdict_rows(run, steps.DEFAULT) if row[0] == what and row[1] == wanted)


class ReportTest(unittest.TestCase):
    def test_times_are_compared_round_by_round(self):
        time = Key("debian layer", "time", "s")
        run = run_of((time, "strata", [1, 10, 2]), (time, "tar -x", [1, 10, 1]), (time, "umoci", [1.5, 15, 3]))
        self.assertEqual(judgement(run, "debian layer", "≤ 1.25 × tar -x (≥ 0.8 × its MB/s)"), "1 times met")
        self.assertEqual(judgement(run, "debian layer", "≤ 0.5 × umoci"), "0.6667 times **missed**")
        self.assertEqual(judgement(run, "debian layer", "≤ 0.5 × podman load"), "not measured")

    def test_the_whole_is_compared_to_its_slowest_stage(self):
        run = run_of((Key("debian layer", "time", "s"), "strata", [6]),
                     *((Key("stages", stage, "s"), "strata", [seconds])
                       for stage, seconds in (("decompress", 1), ("hash", 2), ("unpack", 5), ("index", 0.3))))
        self.assertEqual(judgement(run, "decompress, hash, unpack at once", "≤ 1.3 × the slowest alone"), "1.2 times met")
        self.assertEqual(judgement(run, "index of a layer", "≤ 5 % of the unpacking"), "0.05 of the unpacking met")

    def test_the_largest_import_is_the_peak(self):
        run = run_of((Key("one", "peak memory", "MiB"), "strata", [10, 70, 20]),
                     (Key("two", "peak memory", "MiB"), "podman load", [300]))
        self.assertEqual(judgement(run, "peak memory of an import", "≤ 64 MiB"), "70 MiB **missed**")

    def test_only_its_section_of_a_page_is_exchanged(self):
        first = section.exchange("# Performance\n\nabove\n", section.whole(run_of(), steps.TINY))
        page_text = first + "\nbelow\n"
        again = section.exchange(page_text, section.whole(run_of((Key("x", "y", "s"), "strata", [1])), steps.TINY))
        self.assertTrue(again.startswith("# Performance\n\nabove\n\n## The layer store\n"))
        self.assertTrue(again.endswith(section.END + "\n\nbelow\n"))
        self.assertEqual(again.count(section.TITLE), 1)
        self.assertIn("### x", again)

    def test_the_other_page_leaves_the_section(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "page.md")
            Path(path).write_text("# Old\n\n## The layer store\n\nkept\n", encoding="utf-8")
            run = run_of()
            run.servers = {}
            page.write(run, "overlayfs", path)
            text = Path(path).read_text(encoding="utf-8")
            self.assertTrue(text.startswith("# Performance\n"))
            self.assertTrue(text.endswith("\n## The layer store\n\nkept\n"))


class TinyRunTest(unittest.TestCase):
    def test_everything_is_measured_and_nothing_is_left(self):
        with tempfile.TemporaryDirectory(prefix="store-check.") as directory:
            scratch = os.path.join(directory, "scratch")
            os.mkdir(scratch)
            target, written = os.path.join(directory, "store.json"), os.path.join(directory, "page.md")
            outcome = subprocess.run([sys.executable, STORE / "store.py", "--tiny", "--rounds", "1", "--binaries",
                                      BINARIES, "--scratch", scratch, "--json", target, "--markdown", written],
                                     capture_output=True, text=True)
            self.assertEqual(outcome.returncode, 0, outcome.stdout[-2000:] + outcome.stderr[-2000:])
            document = json.loads(Path(target).read_text(encoding="utf-8"))
            self.assertEqual([note for note in document["notes"] if "failed" in note], [])
            skipped = " ".join(document["notes"])
            for figure in document["figures"][:-1]:
                if not any(peer in figure["wanted"] and peer in skipped for peer in ("umoci", "podman")):
                    self.assertIsNotNone(figure["measured"], figure)
            text = Path(written).read_text(encoding="utf-8")
            for goal in goals.goals(steps.TINY):
                self.assertIn(f"| {goal.what} | {goal.wanted} |", text)
            self.assertNotIn(directory, text)
            self.assertEqual(os.listdir(scratch), [])
            self.assertNotIn(directory, Path("/proc/self/mountinfo").read_text(encoding="utf-8"))

    def test_wrong_words_are_refused(self):
        outcome = subprocess.run([sys.executable, STORE / "store.py", "--steps", "nothing"], capture_output=True, text=True)
        self.assertEqual(outcome.returncode, 2)
        self.assertIn("error:", outcome.stderr)


if __name__ == "__main__":
    unittest.main()
