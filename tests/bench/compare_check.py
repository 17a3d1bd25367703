#!/usr/bin/env python3
"""bench/compare from end to end, with very little to measure: JSON and page are complete, and nothing stays behind.

    compare_check.py DIRECTORY_OF_COMPARE

Needs root and STRATA_BIN_DIR.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

COMPARE = Path(sys.argv.pop(1))
sys.path.insert(0, str(COMPARE))

import scale  # noqa: E402
from figures import FIGURES  # noqa: E402
from workloads import NAMES, workloads  # noqa: E402

BINARIES = Path(os.environ["STRATA_BIN_DIR"])
PEERS = ["native", "overlayfs", "stratafs"]
PATIENCE = 60


def command(scratch, *arguments):
    return [sys.executable, COMPARE / "compare.py", "--tiny", "--stratafs", BINARIES / "stratafs", "--scratch", scratch,
            *arguments]


def left_behind(scratch):
    """Mounts, loop devices, processes and files of a run in `scratch`."""
    found = [line for line in Path("/proc/self/mounts").read_text().splitlines() if scratch in line]
    found += [line for line in subprocess.run(["losetup", "-l", "-n", "-O", "BACK-FILE"], check=True, text=True,
                                              capture_output=True).stdout.splitlines() if scratch in line]
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if scratch.encode() in cmdline.read_bytes():
                found.append(str(cmdline))
        except OSError:
            continue  # it has ended
    return found + os.listdir(scratch)


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("waited in vain")
        time.sleep(0.02)


class CompareTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="compare-check.")
        self.addCleanup(directory.cleanup)
        self.results = Path(directory.name) / "results"
        self.scratch = str(Path(directory.name) / "scratch")
        self.results.mkdir()
        os.mkdir(self.scratch)

    def test_all_workloads_and_the_whole_report(self):
        target, page = self.results / "result.json", self.results / "page.md"
        outcome = subprocess.run(command(self.scratch, "--rounds", "1", "--peers", ",".join(PEERS), "--json", target,
                                         "--markdown", page), capture_output=True, text=True)
        self.assertEqual(outcome.returncode, 0, outcome.stdout[-2000:] + outcome.stderr[-2000:])
        document = json.loads(target.read_text())
        self.check_values(document)
        self.assertEqual(len({figure["what"] + figure["wanted"] for figure in document["figures"]}),
                         len(document["figures"]))
        self.assertGreaterEqual(len(document["figures"]), len(FIGURES))
        self.check_page(page.read_text(), document)
        again = self.results / "again.md"
        subprocess.run(command(self.scratch, "--from-json", target, "--markdown", again), check=True,
                       capture_output=True)
        self.assertEqual(again.read_text(), page.read_text())
        self.assertEqual(left_behind(self.scratch), [])

    def check_values(self, document):
        """Every workload gave positive values for every peer that it suits."""
        skipped = [name for name in NAMES if any(note.startswith(f"{name}: skipped") for note in document["notes"])]
        for workload in workloads(scale.TINY):
            rows = [row for row in document["results"] if row["workload"] == workload.name]
            if workload.name in skipped:
                continue
            self.assertTrue(rows, workload.name)
            for row in rows:
                wanted = ["stratafs"] if workload.name == "memory" else PEERS
                if row["metric"] == "mount":
                    wanted = [peer for peer in PEERS if peer != "native"]
                self.assertEqual(sorted(row["values"]), sorted(wanted), row)
                for rounds in row["values"].values():
                    self.assertEqual(len(rounds), 1)
                    self.assertGreaterEqual(min(rounds.values()), 0)
        self.assertEqual([note for note in document["notes"] if "failed" in note], [])

    def check_page(self, text, document):
        self.assertTrue(text.startswith("# Performance\n"))
        for title in ("Figures", "Again", *{row["workload"] for row in document["results"]}):
            self.assertIn(f"\n## {title}\n", text)
        for verdict in document["figures"]:
            self.assertIn(f"| {verdict['what']} | {verdict['wanted']} |", text)
        for row in document["results"]:
            self.assertIn(row["metric"], text)
        self.assertNotIn(self.scratch, text)
        self.assertNotIn(os.uname().nodename, text)

    def test_interrupted_it_leaves_only_what_it_has_measured(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number=number):
                target = self.results / f"{number}.json"
                process = subprocess.Popen(command(self.scratch, "--rounds", "1", "--peers", "stratafs",
                                                   "--workloads", "untar,git", "--json", target),
                                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                try:
                    until(target.exists)  # the first workload is done
                    until(lambda: any(self.scratch in line and " fuse.stratafs " in line
                                      for line in Path("/proc/self/mounts").read_text().splitlines()))
                    process.send_signal(number)
                    _, errors = process.communicate(timeout=PATIENCE)
                finally:
                    process.kill()
                    process.wait()
                self.assertEqual(process.returncode, 1)
                self.assertIn("interrupted", errors)
                self.assertEqual([row["workload"] for row in json.loads(target.read_text())["results"]], ["untar"])
                self.assertEqual(left_behind(self.scratch), [])

    def test_a_server_that_dies_is_noted_and_cleaned_up_after(self):
        dying = self.results / "dying"
        dying.write_text("#!/bin/sh\n[ $# -lt 2 ] || { echo no >&2; exit 1; }\n")  # says its version, mounts nothing
        dying.chmod(0o755)
        target = self.results / "result.json"
        outcome = subprocess.run(command(self.scratch, "--rounds", "1", "--peers", "native,stratafs", "--stratafs", dying,
                                         "--workloads", "untar", "--json", target), capture_output=True, text=True)
        self.assertEqual(outcome.returncode, 1)
        document = json.loads(target.read_text())
        self.assertEqual(document["notes"], ["stratafs failed at 'untar': dying did not mount: no"])
        self.assertEqual(sorted(document["results"][0]["values"]), ["native"])
        self.assertEqual(left_behind(self.scratch), [])

    def test_wrong_words_are_refused(self):
        for arguments in (["--peers", "nobody"], ["--workloads", "nothing"], ["--variant", "nameless"],
                          ["--tiny", "--full"]):
            with self.subTest(arguments):
                outcome = subprocess.run(command(self.scratch, *arguments), capture_output=True, text=True)
                self.assertEqual(outcome.returncode, 2)
                self.assertIn("error:", outcome.stderr)


if __name__ == "__main__":
    unittest.main()
