"""The report, in Markdown: a section of docs/performance.md that is exchanged as a whole."""

import goals
import report

TITLE = "## The layer store"
END = "<!-- end of the layer store -->"

INTRO = """\
Written by `bench/store/store.py` from what it measured, in a run of its own: {rounds} rounds, everybody in turns, on a
fresh ext4 with a journal. `strata` brings an OCI layout with gzip layers into a new store (verified, unpacked, indexed
and on the disk when it ends), `strata, archive` the same from one file, `umoci` unpacks the layout, `podman load` loads
the file with its overlay driver, `tar -x` extracts the plain tar of the one layer and does nothing else. None but
strata and `tar -x, sync` waits for the disk. Ratios are taken round by round.

{machine}
"""

AGAIN = """\
Again:

    cmake --preset release && ninja -C build/release store_workload strata stratad stratafs
    sudo bench/store/store.py --json store.json --markdown docs/performance.md
"""


def verdict_rows(run, scale):
    rows = []
    for goal in goals.goals(scale):
        measured = goal.measure(run.results)
        judgement = "not measured"
        if measured is not None:
            judgement = f"{report.number(measured)} {goal.unit} {'met' if measured <= goal.limit else '**missed**'}"
        rows.append([goal.what, goal.wanted, judgement])
    return rows


def value_tables(run):
    """A table for each workload, its metrics over those who were measured."""
    lines = []
    for workload in dict.fromkeys(key.workload for key in run.results.keys()):
        keys = [key for key in run.results.keys() if key.workload == workload]
        who = list(dict.fromkeys(name for key in keys for name in run.results.values[key]))
        rows = [[f"{key.metric}, {key.unit}", *(report.cell(run.results, key, name, "strata") for name in who)]
                for key in keys]
        lines += ["", f"### {workload}", "", *report.table(["", *who], rows)]
    return lines


def whole(run, scale):
    machine = "\n".join(f"- {name}: {value}" for name, value in run.machine.items())
    lines = [TITLE, "", INTRO.format(rounds=run.rounds, machine=machine),
             *report.table(["", "wanted", "measured"], verdict_rows(run, scale))]
    lines += ["", "Median; ×: so many times strata's, round by round (least–most). Without ×: (least–most) of the values."]
    lines += value_tables(run)
    if run.notes:
        lines += ["", "### Notes of the run", "", *(f"- {note}" for note in run.notes)]
    return lines + ["", AGAIN + END]


def exchange(page, lines):
    """The page with this section in the place of the old one, or at its end."""
    text = "\n".join(lines)
    start = page.find(TITLE + "\n")
    if start < 0:
        return page.rstrip("\n") + "\n\n" + text + "\n"
    end = page.index(END, start) + len(END)
    return page[:start] + text + page[end:]
