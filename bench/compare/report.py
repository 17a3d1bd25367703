"""Tables and JSON from the collected values."""

import json
import statistics


def spread(values):
    return f"{statistics.median(values):.4g} ({min(values):.4g}-{max(values):.4g})"


def table(results, peers, base):
    """`results` is {(workload, metric, unit): {peer: [values]}}; the ratio is base's time by ours."""
    lines = []
    workload_before = None
    for (workload, metric, unit), by_peer in results.items():
        if workload != workload_before:
            lines += ["", f"## {workload}", "| | " + " | ".join(peers) + " |",
                      "|---" * (len(peers) + 1) + "|"]
            workload_before = workload
        cells = []
        for peer in peers:
            values = by_peer.get(peer)
            if not values:
                cells.append("-")
                continue
            cell = spread(values)
            if peer != base and by_peer.get(base):
                ratio = statistics.median(values) / statistics.median(by_peer[base])
                cell += f" x{ratio:.2f}"
            cells.append(cell)
        lines.append(f"| {metric}, {unit} | " + " | ".join(cells) + " |")
    lines += ["", f"Median (min-max); xN: so many times {base}'s."]
    return "\n".join(lines)


def dump(path, results, notes):
    rows = [
        {"workload": workload, "metric": metric, "unit": unit, "values": by_peer}
        for (workload, metric, unit), by_peer in results.items()
    ]
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"version": 1, "results": rows, "notes": notes}, file, indent=1)
