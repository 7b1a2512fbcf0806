#!/usr/bin/env python3
"""Draws the result of weir_overload_bench: plot.py RESULT.json PLOT.svg

Left: answers in time, as a share of what the host could do. Right: the 99th percentile of admitted
work. Both against the load, a row for each number of processes that met all arms. Standard library
only.
"""
import json
import math
import sys

ARMS = [
    ("none", "no limiter", "#9a9a9a", "2 3"),
    ("fixed", "fixed optimum", "#333333", "6 3"),
    ("weir", "weir", "#c2185b", ""),
    ("bbr", "BBR in each process", "#1976d2", ""),
    ("gradient", "Gradient2 in each process", "#e08a00", ""),
]
WIDTH, LEFT, TOP, PANEL_W, GAP = 960, 62, 84, 380, 92
BELOW, BETWEEN = 112, 96  # the rows


def escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class Svg:
    def __init__(self, height):
        self.height = height
        self.parts = []

    def text(self, x, y, text, anchor="middle", size=12, extra=""):
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" {extra}>'
            f"{escape(text)}</text>")

    def line(self, x1, y1, x2, y2, color="#dddddd", width=1):
        self.parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
            f'stroke="{color}" stroke-width="{width}"/>')

    def curve(self, points, color, dash):
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(
            f'<polyline points="{joined}" fill="none" stroke="{color}" stroke-width="2.2" '
            f'stroke-dasharray="{dash}"/>')
        for x, y in points:
            self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{color}"/>')

    def write(self, path):
        with open(path, "w", encoding="utf-8") as out:
            out.write(
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" '
                f'font-family="sans-serif" fill="#222222">\n'
                f'<rect width="{WIDTH}" height="{self.height}" fill="#ffffff"/>\n')
            out.write("\n".join(self.parts))
            out.write("\n</svg>\n")


def panel(svg, left, top, high, title, loads, ticks, place_y, label):
    for value in ticks:
        y = place_y(value)
        svg.line(left, y, left + PANEL_W, y)
        svg.text(left - 8, y + 4, label(value), "end", 11)
    for load in loads:
        svg.text(place_x(left, loads, load), top + high + 20, f"{load:g}x", size=11)
    svg.text(left + PANEL_W / 2, top + high + 40, "offered, in parts of the capacity")
    svg.text(left + PANEL_W / 2, top - 14, title, size=13)


def place_x(left, loads, load):
    low, high = math.log(loads[0]), math.log(loads[-1])
    share = (math.log(load) - low) / (high - low) if high > low else 0.5
    return left + 20 + share * (PANEL_W - 40)


def row(svg, top, high, cells, loads, deadline):
    right = LEFT + PANEL_W + GAP
    least, worst = 10.0, 1000.0

    def y_goodput(share):
        return top + high * (1.0 - min(share, 1.1) / 1.1)

    def y_time(ms):
        share = (math.log(max(ms, least)) - math.log(least)) / (math.log(worst) - math.log(least))
        return top + high * (1.0 - min(share, 1.0))

    processes = cells[0]["processes"]
    name = f"{processes} process" + ("" if processes == 1 else "es")
    panel(svg, LEFT, top, high, f"{name}: answered in time, of the capacity", loads,
          [0, 0.25, 0.5, 0.75, 1.0], y_goodput, lambda v: f"{100 * v:.0f} %")
    panel(svg, right, top, high, f"{name}: 99th percentile of admitted work", loads,
          [10, 20, 50, 100, 200, 500, 1000], y_time, lambda v: f"{v:g} ms")
    svg.line(right, y_time(deadline), right + PANEL_W, y_time(deadline), "#b04040", 1.4)
    svg.text(right + PANEL_W, y_time(deadline) - 5, "deadline", "end", 11)
    for key, _, color, dash in ARMS:
        mine = sorted((c for c in cells if c["arm"] == key), key=lambda c: c["load"])
        if not mine:
            continue
        svg.curve([(place_x(LEFT, loads, c["load"]), y_goodput(c["goodput"])) for c in mine],
                  color, dash)
        svg.curve([(place_x(right, loads, c["load"]), y_time(c["p99_ms"])) for c in mine],
                  color, dash)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        result = json.load(file)
    plain = [c for c in result["cells"] if c["disturbance"] == ""] or result["cells"]
    counts = [c["processes"] for c in plain]
    most = max(counts.count(count) for count in counts)
    rows = sorted(count for count in set(counts) if counts.count(count) == most)
    high = 290 if len(rows) == 1 else 190
    svg = Svg(TOP + len(rows) * (high + BETWEEN) - BETWEEN + BELOW)
    loads = sorted({c["load"] for c in plain if c["processes"] in rows})
    for i, count in enumerate(rows):
        cells = [c for c in plain if c["processes"] == count]
        row(svg, TOP + i * (high + BETWEEN), high, cells, loads, result["deadline_ms"])
    present = [arm for arm in ARMS if any(c["arm"] == arm[0] for c in plain)]
    for i, (_, name, color, dash) in enumerate(present):
        x = LEFT + i * (WIDTH - LEFT - 60) / len(present)
        svg.curve([(x, svg.height - 42), (x + 26, svg.height - 42)], color, dash)
        svg.text(x + 34, svg.height - 38, name, "start", 12)
    svg.text(WIDTH / 2, 30, "A host of one core, stepped from half its capacity "
             f"({result['capacity_per_second']:.0f}/s)", size=15)
    svg.text(WIDTH / 2, svg.height - 12,
             f"{result['work_ms']:g} ms of CPU a request, exponential; deadline "
             f"{result['deadline_ms']:g} ms; from {result['settled_s']:g} s after the step on; "
             f"steps of {result['during_s']:g} s", size=11)
    svg.write(sys.argv[2])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main()
