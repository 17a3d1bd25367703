"""Tables, in Markdown: what is printed and what the page shows."""

import figures


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def number(value):
    """Four digits, and no exponent."""
    if abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.4g}" if abs(value) >= 0.001 else f"{value:.6f}"


def cell(results, key, peer, base):
    """The median, and how many times that of `base`; where there is no ratio, the spread of the values."""
    value = results.value(key, peer)
    if value is None:
        return "–"
    ratio = results.ratio(key, peer, base) if peer != base else None
    if ratio is None:
        return f"{number(value.median)} ({number(value.least)}–{number(value.most)})"
    return f"{number(value.median)} ×{ratio.median:.2f} ({ratio.least:.2f}–{ratio.most:.2f})"


def sections(run, base):
    """A title and a table for each workload; for each metric of it where that is a curve."""
    groups = {}
    for key in run.results.keys():
        groups.setdefault((key.workload, key.metric if key.point else None), []).append(key)
    lines = []
    workload_before = None
    for (workload, metric), keys in groups.items():
        peers = [peer for peer in run.peers if any(run.results.value(key, peer) for key in keys)]
        if workload != workload_before:
            lines += ["", f"## {workload}"]
            workload_before = workload
        corner = f"{workload}: {metric}, {keys[0].unit}" if metric else ""
        rows = [[key.point or f"{key.metric}, {key.unit}",
                 *(cell(run.results, key, peer, base) for peer in peers)] for key in keys]
        lines += ["", *table([corner, *peers], rows)]
    return lines


def figure_table(run, verdicts):
    """What is wanted beside what was measured; the count of those that are met says how far it is."""
    counts = []
    for name in run.servers:
        met = [verdict.measured[name][1] for verdict in verdicts if name in verdict.measured]
        counts.append(f"{name} meets {sum(met)} of {len(met)}")
    rows = [[verdict.what, verdict.wanted, *(judgement(verdict, name) for name in run.servers)]
            for verdict in verdicts]
    return ["", "## Figures", "", ", ".join(counts) + ".", "",
            *table(["", "wanted", *run.servers], rows)]


def judgement(verdict, name):
    if not verdict.measured:
        return "not measured"
    if name not in verdict.measured:
        return "–"
    value, met = verdict.measured[name]
    return f"{number(value)} {'met' if met else '**missed**'}"


def whole(run, base):
    legend = f"Median; ×: so many times {base}'s, round by round (least–most). Without ×: (least–most) of the values."
    lines = figure_table(run, figures.verdicts(run)) + ["", legend] + sections(run, base)
    if run.notes:
        lines += ["", "## Notes", "", *(f"- {note}" for note in run.notes)]
    return lines
