#!/usr/bin/env python3
"""The arithmetic of bench/compare: spreads, ratios round by round, verdicts, tables, and the way through JSON.

    report_check.py DIRECTORY_OF_COMPARE
"""

import os
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, sys.argv.pop(1))

import figures  # noqa: E402
import page  # noqa: E402
import peers  # noqa: E402
import report  # noqa: E402
from results import Key, Results, Run, Server, load, save, spread  # noqa: E402
from samples import human  # noqa: E402

WALK = Key("layers", "cold walk+stat", "ms", "64")


def results(*rows):
    made = Results()
    for key, peer, values in rows:
        for number, value in enumerate(values):
            made.add(key, peer, number, value)
    return made


def run_of(*rows, servers=None):
    servers = servers or {"stratafs": Server("dev", False, True), "stratafs-uring": Server("uring", False, True),
                          "stratafs-index": Server("dev", True, True), "stratafs-cached": Server("dev", False, False)}
    return Run({"processors": "2"}, 3, ["overlayfs", "fuse-overlayfs", *servers], servers, results(*rows))


def verdict(run, what, wanted):
    return next(found for found in figures.verdicts(run) if found.what == what and found.wanted == wanted)


class ResultsTest(unittest.TestCase):
    def test_a_spread_is_of_all_rounds(self):
        self.assertEqual(spread([5, 1, 3]), (3, 1, 5))
        self.assertEqual(spread([4, 2]), (3, 2, 4))

    def test_a_ratio_is_taken_round_by_round(self):
        # The second round was ten times as slow for both: the ratio does not notice.
        found = results((WALK, "ours", [2, 30, 4]), (WALK, "theirs", [4, 40, 4]))
        self.assertEqual(found.ratio(WALK, "ours", "theirs"), (0.75, 0.5, 1))

    def test_a_ratio_needs_rounds_of_both(self):
        found = results((WALK, "ours", [2, 3]), (WALK, "theirs", [4]))
        self.assertEqual(found.ratio(WALK, "ours", "theirs"), (0.5, 0.5, 0.5))
        self.assertIsNone(found.ratio(WALK, "ours", "nobody"))
        self.assertIsNone(found.value(WALK, "nobody"))

    def test_no_ratio_to_a_time_too_short_to_be_measured(self):
        self.assertIsNone(results((WALK, "ours", [2]), (WALK, "theirs", [0])).ratio(WALK, "ours", "theirs"))


class VerdictTest(unittest.TestCase):
    def test_each_figure_is_about_the_servers_it_names(self):
        run = run_of((WALK, "overlayfs", [100]), (WALK, "stratafs", [30]), (WALK, "stratafs-uring", [31]),
                     (WALK, "stratafs-index", [16]))
        self.assertEqual(verdict(run, "layers 64: cold walk+stat", "≤ 0.3 × overlayfs").measured,
                         {"stratafs": (0.3, True), "stratafs-uring": (0.31, False)})
        self.assertEqual(verdict(run, "layers 64: cold walk+stat", "≤ 0.15 × overlayfs").measured,
                         {"stratafs-index": (0.16, False)})

    def test_points_of_one_curve_are_compared(self):
        run = run_of((WALK._replace(point="1"), "stratafs-index", [10]),
                     (WALK._replace(point="500"), "stratafs-index", [12]))
        self.assertEqual(verdict(run, "layers 500: cold walk+stat", "≤ 1.2 × layers 1").measured,
                         {"stratafs-index": (1.2, True)})

    def test_a_throughput_is_the_inverse_of_a_time(self):
        key = Key("data", "read, lower, 1 MiB", "ms")
        run = run_of((key, "native", [97]), (key, "stratafs", [100]), (key, "stratafs-uring", [101]),
                     (key, "stratafs-cached", [500]))
        measured = verdict(run, "data: read, lower, 1 MiB", "≥ 0.97 × native").measured
        self.assertTrue(measured["stratafs"][1])
        self.assertAlmostEqual(measured["stratafs"][0], 0.97)
        self.assertFalse(measured["stratafs-uring"][1])
        self.assertNotIn("stratafs-cached", measured)

    def test_a_pattern_stands_for_each_metric(self):
        keys = [Key("git", metric, "ms") for metric in ("git status, cold", "git status, warm")]
        run = run_of(*((key, peer, [value]) for key in keys for peer, value in (("overlayfs", 10), ("stratafs", 11))))
        self.assertEqual([found.what for found in figures.verdicts(run) if found.wanted == "≤ 1.15 × overlayfs"
                          and found.what.startswith("git")], ["git: git status, cold", "git: git status, warm"])

    def test_a_three_hundredth(self):
        key = Key("file size", "first 4 KiB write", "ms", "1 GiB")
        run = run_of((key, "overlayfs", [300]), (key, "stratafs", [0.9]))
        self.assertTrue(verdict(run, "file size 1 GiB: first 4 KiB write", "≤ 1/300 × overlayfs")
                        .measured["stratafs"][1])
        self.assertEqual(verdict(run, "file size 1 GiB: first 4 KiB write", "≤ 1 ms").measured["stratafs"],
                         (0.9, True))

    def test_what_was_not_measured_is_said_to_be(self):
        run = run_of()
        self.assertTrue(all(not found.measured for found in figures.verdicts(run)))
        text = "\n".join(report.whole(run, "overlayfs"))
        self.assertIn("stratafs meets 0 of 0, stratafs-uring meets", text)
        self.assertIn("| memory: for each known node | ≤ 160 B | not measured |", text)


class ReportTest(unittest.TestCase):
    def test_numbers(self):
        self.assertEqual([report.number(value) for value in (0, 0.00012, 0.01234, 12.3456, 1234.5, 123456.7)],
                         ["0.000000", "0.000120", "0.01234", "12.35", "1234", "123457"])

    def test_sizes(self):
        self.assertEqual([human(size) for size in (512, 4096, 16 << 20, 10 << 30)],
                         ["512 B", "4 KiB", "16 MiB", "10 GiB"])

    def test_a_curve_has_a_table_and_a_row_for_each_point(self):
        run = run_of((WALK._replace(point="1"), "overlayfs", [10, 20]), (WALK._replace(point="1"), "stratafs", [5, 20]),
                     (WALK, "overlayfs", [40]))
        lines = report.sections(run, "overlayfs")
        self.assertIn("| layers: cold walk+stat, ms | overlayfs | stratafs |", lines)
        self.assertIn("| 1 | 15 (10–20) | 12.5 ×0.75 (0.50–1.00) |", lines)
        self.assertIn("| 64 | 40 (40–40) | – |", lines)

    def test_the_way_through_json_changes_nothing(self):
        run = run_of((WALK, "overlayfs", [100, 90]), (WALK, "stratafs", [30, 20]))
        run.note("a note")
        run.note("a note")
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "result.json")
            save(run, path, [])
            again = load(path)
            self.assertEqual(report.whole(again, "overlayfs"), report.whole(run, "overlayfs"))
            self.assertEqual(again.notes, ["a note"])
            pages = [os.path.join(directory, name) for name in ("one.md", "two.md")]
            for each, target in zip((run, again), pages):
                page.write(each, "overlayfs", target)
            texts = [Path(target).read_text(encoding="utf-8") for target in pages]
            self.assertEqual(texts[0], texts[1])
            self.assertIn("- processors: 2", texts[0])


class VariantTest(unittest.TestCase):
    def test_options_and_index(self):
        made = peers.variant("fast=index,transport=uring,threads=2", "/bin/true", ["volatile"])
        self.assertEqual((made.name, made.options, made.through_index, made.transport),
                         ("fast", ["transport=uring", "threads=2", "volatile"], True, "uring"))
        self.assertTrue(made.passthrough)
        self.assertFalse(peers.variant("cached=opens=off", "/bin/true", []).passthrough)
        self.assertEqual(peers.variant("plain=", "/bin/true", []).transport, "dev")

    def test_one_without_a_name_is_refused(self):
        for text in ("=index", "name", ""):
            with self.subTest(text):
                self.assertRaises(ValueError, peers.variant, text, "/bin/true", [])


if __name__ == "__main__":
    unittest.main()
