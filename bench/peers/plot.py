"""docs/peers.svg: percent of the peak over the length, a panel for each operation and mask. Plain Python."""

import collections
import math
import statistics
from xml.sax.saxutils import escape

import report

OURS = "mha"
LINES = {OURS: ("mha", "#0b3d91", 3.2), "onnxruntime": ("ONNX Runtime", "#d55e00", 1.8),
         "openvino": ("OpenVINO", "#8e44ad", 1.8), "pytorch": ("PyTorch", "#009e73", 1.8),
         "zentorch": ("zentorch", "#b8860b", 1.8)}
WIDTH, PANEL_WIDTH, PANEL_HEIGHT = 880, 360, 190
LEFT, TOP, GAP_X, GAP_Y = 52, 92, 60, 62


def series(results, op, mask, threads, d_head):
    """{line: {length: percent of the peak}}; ours is the median over the peers' processes."""
    ours, lines = collections.defaultdict(list), collections.defaultdict(dict)
    for entry in results["results"]:
        if not report.is_measured(entry) or (*report.group_of(entry), entry["threads"], entry["d_head"]) != (
                op, "f32", mask, threads, d_head):
            continue
        ours[entry["length"]].append(entry["ours"]["percent"])
        lines[entry["peer"]][entry["length"]] = entry["theirs"]["percent"]
    return {OURS: {length: statistics.median(values) for length, values in ours.items()}, **lines}


def shown_width(results):
    """64, or the width that has most cells."""
    widths = collections.Counter(entry["d_head"] for entry in results["results"])
    return 64 if 64 in widths or not widths else widths.most_common(1)[0][0]


class Picture:
    def __init__(self, height):
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
            f'height="{height}" font-family="system-ui, sans-serif" font-size="12" fill="#333">',
            f'<rect width="{WIDTH}" height="{height}" rx="6" fill="#ffffff"/>']

    def text(self, x, y, words, **attributes):
        extra = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}"{extra}>{escape(words)}</text>')

    def line(self, x1, y1, x2, y2, colour, width=1.0):
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
                          f'stroke="{colour}" stroke-width="{width}"/>')

    def curve(self, points, colour, width):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" '
                          f'stroke-width="{width}" stroke-linejoin="round"/>')
        for x, y in points:
            self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{width:.1f}" fill="{colour}"/>')


def draw_panel(drawing, x, y, title, lines, lengths):
    low, high = min(lengths), max(lengths)

    def at(length, percent):
        along = math.log2(length / low) / math.log2(high / low) if high > low else 0.5
        return x + along * PANEL_WIDTH, y + PANEL_HEIGHT * (1 - min(percent, 100) / 100)
    drawing.text(x, y - 10, title, font_weight="600", font_size="13")
    for percent in range(0, 101, 25):
        height = at(low, percent)[1]
        drawing.line(x, height, x + PANEL_WIDTH, height, "#dddddd" if percent else "#888888")
        drawing.text(x - 6, height + 4, f"{percent}", text_anchor="end", fill="#777")
    for length in lengths:
        drawing.text(at(length, 0)[0], y + PANEL_HEIGHT + 17, f"{length}", text_anchor="middle", fill="#777")
    for name in reversed(LINES):  # ours last, on top
        if lines.get(name):
            drawing.curve([at(length, lines[name][length]) for length in sorted(lines[name])],
                          *LINES[name][1:])


def picture(results, threads=1):
    """The SVG as text."""
    d_head = shown_width(results)
    panels = [(op, mask, series(results, op, mask, threads, d_head)) for op, dtype, mask in report.GROUPS
              if dtype == "f32" and op != "decode"]
    panels = [panel for panel in panels if panel[2][OURS]]
    height = TOP + max(1, (len(panels) + 1) // 2) * (PANEL_HEIGHT + GAP_Y) - 20
    drawing = Picture(height)
    drawing.text(20, 28, f"Percent of the f32 FMA peak over the length L; heads of {d_head}, "
                 f"{report.thread_words(threads)}", font_size="16", font_weight="600")
    drawing.text(20, 48, f"{results['machine']}; hidden pairs are not counted as work", fill="#777")
    x = WIDTH - 20
    for name in reversed([name for name in LINES if any(lines.get(name) for _, _, lines in panels)]):
        label, colour, width = LINES[name]
        x -= 7 * len(label) + 44
        drawing.line(x, 62, x + 22, 62, colour, width)
        drawing.text(x + 28, 66, label)
    lengths = sorted({length for _, _, lines in panels for length in lines[OURS]})
    for index, (op, mask, lines) in enumerate(panels):
        draw_panel(drawing, LEFT + index % 2 * (PANEL_WIDTH + GAP_X),
                   TOP + 8 + index // 2 * (PANEL_HEIGHT + GAP_Y),
                   f"{'whole block' if op == 'block' else 'attention'}, {mask}", lines, lengths)
    return "\n".join(drawing.parts + ["</svg>"]) + "\n"
