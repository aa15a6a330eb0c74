"""Words and tables from the JSON file of a run; plain Python, so that it works without any peer."""

import json
import math
import statistics

VERSION = 1
NAMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "pytorch": "PyTorch", "zentorch": "zentorch"}
BEGIN, END = "<!-- ./dev bench peers --write-docs: begin -->", "<!-- ./dev bench peers --write-docs: end -->"
# Operation, dtype and mask of the tables, in their order.
GROUPS = [(op, dtype, mask) for dtype in ("f32", "bf16") for op in ("attention", "block")
          for mask in ("full", "causal")] + [("decode", dtype, "full") for dtype in ("f32", "bf16")]


def read(path):
    with open(path, encoding="utf-8") as file:
        results = json.load(file)
    if results.get("version") != VERSION:
        raise SystemExit(f"peers: {path} is of another version of this program")
    return results


def dates(results):
    """When its cells were measured: with --keep not all on one day."""
    found = sorted({entry.get("date", results["date"]) for entry in results["results"]} or {results["date"]})
    return found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}"


def thread_words(threads):
    return "one thread" if threads == 1 else "two threads" if threads == 2 else f"{threads} threads"


def seconds_text(seconds):
    for unit, factor in (("us", 1e6), ("ms", 1e3)):
        if seconds * factor < 1000:
            break
    value = seconds * factor
    return f"{value:.{max(0, 2 - int(math.log10(max(value, 1))))}f} {unit}"


def dtype_of(entry):
    return entry.get("dtype", "f32")  # files from before there was another lack it


def group_of(entry):
    return entry["op"], dtype_of(entry), entry["mask"]


def group_words(group):
    op, dtype, mask = group
    words = "whole block" if op == "block" else op
    words += ", one query" if op == "decode" else f", {mask}"
    return words if dtype == "f32" and op != "decode" else f"{words}, {dtype}"


def is_measured(entry):
    return "failed" not in entry and "absent" not in entry


def progress_line(entry):
    head = f"{entry['threads']} x {entry['peer']}, {entry['name']}: "
    if "absent" in entry:
        return head + "it has no such operation"
    if "failed" in entry:
        return head + f"FAILED: {entry['failed']}"
    return head + (f"ours {seconds_text(entry['ours']['median'])} ({entry['ours']['percent']:.0f} %), "
                   f"theirs {seconds_text(entry['theirs']['median'])} ({entry['theirs']['percent']:.0f} %): "
                   f"{entry['ratio']:.2f} times as fast")


class Cell:
    """One cell at one thread count: its entries by peer."""

    def __init__(self, entries):
        self.first = entries[0]
        self.by_peer = {entry["peer"]: entry for entry in entries}
        measured = [entry for entry in entries if is_measured(entry)]
        # Each ratio is of one process; the best peer is the one that we are least ahead of.
        self.best = min(measured, key=lambda entry: entry["ratio"], default=None)

    @property
    def shape(self):
        first = self.first
        model = f"{first['d_model']}, " if first["d_model"] else ""
        groups = first.get("kv_heads", first["heads"])
        heads = f"{first['heads']}" if groups == first["heads"] else f"{first['heads']} / {groups}"
        return f"{model}{heads} x {first['d_head']}"

    @property
    def title(self):
        dtype = "" if dtype_of(self.first) == "f32" else f", {dtype_of(self.first)}"
        return f"{self.first['op']} {self.shape}, {self.first['mask']}{dtype}, L = {self.first['length']}"


def cells_of(results):
    """In the order of measurement."""
    groups = {}
    for entry in results["results"]:
        groups.setdefault((entry["threads"], entry["name"]), []).append(entry)
    return [Cell(entries) for entries in groups.values()]


def thread_counts(cells):
    return sorted({cell.first["threads"] for cell in cells})


def peers_in(results):
    return [peer for peer in NAMES if peer in results["peers"]]


def versions(results):
    words = [f"{NAMES[peer]} {results['peers'][peer].get('version', '')}".strip()
             for peer in peers_in(results) if "skipped" not in results["peers"][peer]]
    return ", ".join(words)


def skipped(results):
    return [f"{NAMES[peer]} was skipped: {results['peers'][peer]['skipped']}."
            for peer in peers_in(results) if "skipped" in results["peers"][peer]]


def verdict(cells):
    """What all cells say together, in sentences."""
    counted = [cell for cell in cells if cell.best]
    if not counted:
        return "Nothing was measured."
    ratios = [cell.best["ratio"] for cell in counted]
    ahead = sum(ratio > 1 for ratio in ratios)
    least = min(counted, key=lambda cell: cell.best["ratio"])
    mean = math.exp(statistics.fmean(math.log(ratio) for ratio in ratios))
    return (f"Ahead of the best peer in {ahead} of {len(counted)} cells; {mean:.2f} times as fast in the "
            f"geometric mean, {least.best['ratio']:.2f} times at the least ({least.title}, "
            f"{thread_words(least.first['threads'])}, {NAMES[least.best['peer']]}).")


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def range_text(values):
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"


def readme_part(results):
    """The README's table: how many times as fast as the best peer, the least and the most over the widths."""
    cells = [cell for cell in cells_of(results) if cell.best]
    lengths = sorted({cell.first["length"] for cell in cells})
    rows = []
    for group in GROUPS:
        for threads in thread_counts(cells):
            row = []
            for length in lengths:
                ratios = [cell.best["ratio"] for cell in cells if cell.first["length"] == length and
                          group_of(cell.first) == group and cell.first["threads"] == threads]
                row.append(range_text(ratios) if ratios else "")
            if any(row):
                rows.append([group_words(group), thread_words(threads), *row])
    widths = sorted({cell.first["d_head"] for cell in cells})
    parts = [table(["times as fast as the best peer", "", *(f"L = {length}" for length in lengths)], rows),
             f"Least and most over head widths of {', '.join(map(str, widths))}. {verdict(cells)} "
             f"Peers: {versions(results)}. {' '.join(skipped(results))}".strip(),
             f"Machine: {results['machine']}, {dates(results)}."]
    return "\n\n".join(parts)


def between_marks(text, part):
    """The text with `part` between its two marks."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise SystemExit(f"peers: README.md needs the lines `{BEGIN}` and `{END}`, once each")
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{part}\n{END}{rest.split(END)[1]}"


def cell_row(cell, peers):
    best = cell.best
    row = [cell.shape, str(cell.first["length"])]
    if best is None:
        row += ["", "", "", ""]
    else:
        ours = best["ours"]
        row += [seconds_text(ours["median"]), seconds_text(ours["min"]), f"{ours['gflops']:.0f}",
                f"{ours['percent']:.0f} %"]
    for peer in peers:
        entry = cell.by_peer.get(peer)
        if entry is None or "absent" in entry:
            row.append("-")
        elif "failed" in entry:
            row.append("failed")
        else:
            theirs = entry["theirs"]
            row.append(f"{seconds_text(theirs['median'])} / {seconds_text(theirs['min'])}, "
                       f"{theirs['gflops']:.0f}")
    row += ["", ""] if best is None else [NAMES[best["peer"]], f"**{best['ratio']:.2f}**"]
    return row


INTRODUCTION = """# Beside other libraries

`./dev bench peers` measures this page and writes it (`--write-docs`); [performance.md](performance.md) says how it is
done. Seconds are those of one call, median and least. GFLOP/s count visible work only. Percent: of the peak of
multiply-adds over numbers of that dtype, measured in the same process between the calls. Of decode it is GB/s of K and
V, and the percentage is that of the read bandwidth; K and V that partly stay in a cache may pass 100 %. The last column
says how many times as fast we are as the best peer: the median over rounds in which both took turns. "-": not measured,
or the peer has no such operation.
"""


def page(results):
    """docs/peers.md."""
    cells = cells_of(results)
    peers = [peer for peer in peers_in(results) if "skipped" not in results["peers"][peer]]
    parts = [INTRODUCTION, f"Machine: {results['machine']}, {dates(results)}. Peers: {versions(results)}. "
             + " ".join(skipped(results)), verdict(cells)]
    behind = [cell for cell in cells if cell.best and cell.best["ratio"] <= 1]
    if behind:
        parts.append("Not ahead:\n\n" + "\n".join(
            f"- {cell.title}, {thread_words(cell.first['threads'])}: {cell.best['ratio']:.2f} times "
            f"{NAMES[cell.best['peer']]} ({cell.best['variant']})" for cell in behind))
    for threads in thread_counts(cells):
        for group in GROUPS:
            unit, limit = ("GB/s", "of read") if group[0] == "decode" else ("GFLOP/s", "of peak")
            header = ["shape", "L", "ours", "least", unit, limit,
                      *(f"{NAMES[peer]}: median / least, {unit}" for peer in peers), "best peer",
                      "times as fast"]
            rows = [cell_row(cell, peers) for cell in sorted(
                cells, key=lambda cell: (cell.first["d_head"], cell.first["d_model"], cell.first["length"]))
                if cell.first["threads"] == threads and group_of(cell.first) == group]
            if rows:
                words = group_words(group)
                parts += [f"## {words[0].upper()}{words[1:]}, {thread_words(threads)}", table(header, rows)]
    failures = sorted({f"- {NAMES[entry['peer']]}, {entry['name']}, {thread_words(entry['threads'])}: "
                       f"{entry['failed']}" for entry in results["results"] if "failed" in entry})
    if failures:
        parts.append("## Failed\n\n" + "\n".join(failures))
    return "\n\n".join(part.strip() for part in parts) + "\n"
