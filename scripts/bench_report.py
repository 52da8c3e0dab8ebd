#!/usr/bin/env python3
"""What the bench's JSON lines come to: the ratios that the project holds itself to, the table of all that were
measured, and a plot. With --write DIR the measured part of DIR/benchmarks.md and DIR/benchmarks.svg are replaced."""
import argparse
import json
import math
import pathlib
import statistics

BEGIN, END = "<!-- measured: written by `make bench` -->", "<!-- end of what was measured -->"


def median(found):
    return statistics.median(found) if found else None


class Run:
    """The rows of one run, by target, kind of load and round."""

    def __init__(self, path):
        rows = [json.loads(line) for line in open(path) if line.strip().startswith("{")]
        self.rows = [row for row in rows if row["tag"] == "acct" or row.get("ok")]
        self.lost = {}
        for row in rows:
            key = (row["name"], row["tag"])
            self.lost[key] = self.lost.get(key, 0) + row.get("bad", 0) + row.get("io", 0)
        self.by = {(row["name"], row["tag"], row["round"]): row for row in self.rows}
        self.rounds = sorted({row["round"] for row in rows})
        self.names = list(dict.fromkeys(row["name"] for row in rows))
        self.tags = list(dict.fromkeys(row["tag"] for row in rows))

    def values(self, tag, names, value):
        """`value` of the rows of these targets, in each round that has them all."""
        found = []
        for k in self.rounds:
            rows = [self.by.get((name, tag, k)) for name in names]
            if all(rows):
                try:
                    found.append(value(*rows))
                except (KeyError, TypeError, ZeroDivisionError):
                    continue
        return found


def ttft(row, q):
    return row["req_leg_us"][q] + row["first_leg_us"][q]


def added(q):
    return lambda c, d, f: (c["lat_us"][q] - d["lat_us"][q]) / (f["lat_us"][q] - d["lat_us"][q])


def added_ttft(q):
    return lambda c, d, f: (ttft(c, q) - ttft(d, q)) / (ttft(f, q) - ttft(d, q))


def cpu(ours, theirs):
    return ours["cpu_us_per_req"] / theirs["cpu_us_per_req"]


def spread(found, digits):
    if not found:
        return "–"
    middle = f"{median(found):.{digits}f}"
    return middle + (f" [{min(found):.{digits}f} to {max(found):.{digits}f}]" if len(found) > 1 else "")


def ratios(run):
    """Lines of (what, values, aim, whether the aim is an upper bound)."""
    streams = next((tag for tag in run.tags if tag.startswith("sse") and len(tag) <= 6), "sse")
    us, floor, nginx = "coalmine", "floor", "nginx"
    lines = [
        ("CPU per 2 KB chat request, 64 connections, of nginx's", run.values("closed64", (us, nginx), cpu), 2.0, True),
        ("the same, of Envoy's", run.values("closed64", (us, "Envoy"), cpu), 0.5, True),
        ("requests a second at 64 connections, of nginx's", run.values("closed64", (us, nginx), lambda c, n: c["rps"] / n["rps"]), 0.5, False),
        ("median time at one connection, of the bare proxy's", run.values("closed1", (us, floor), lambda c, f: c["lat_us"]["p50"] / f["lat_us"]["p50"]), 2.0, True),
        ("added p50 at 2,000 requests a second, of the bare proxy's", run.values("open2000", (us, "direct", floor), added("p50")), 1.3, True),
        ("added p99 at 2,000 requests a second, of the bare proxy's", run.values("open2000", (us, "direct", floor), added("p99")), 1.3, True),
        (f"added time to first token, p50 at {streams[3:]} streams, of the bare proxy's", run.values(streams, (us, "direct", floor), added_ttft("p50")), 1.3, True),
        (f"added time to first token, p99 at {streams[3:]} streams, of the bare proxy's", run.values(streams, (us, "direct", floor), added_ttft("p99")), 1.3, True),
        (f"CPU per chunk at {streams[3:]} streams, of nginx's", run.values(streams, (us, nginx), lambda c, n: c["cpu_us_per_chunk"] / n["cpu_us_per_chunk"]), 1.5, True),
    ]
    for tag in run.tags:
        if tag.startswith("sse") and len(tag) > 6:
            found = run.values(tag, (us, floor), lambda c, f: c["rss_kib"] / f["rss_kib"])
            lost = run.lost.get((us, tag), 0)
            lines.append((f"memory at {tag[3:]} streams, of the bare proxy's (streams lost: {lost})", found, 1.5, True))
    return lines


def verdict(found, aim, at_most):
    if not found:
        return "not measured"
    middle = median(found)
    return "met" if (middle <= aim if at_most else middle >= aim) else "**not met**"


def peers(run):
    """One row per target: cost and time, medians over the rounds."""
    streams = next((tag for tag in run.tags if tag.startswith("sse") and len(tag) <= 6), "sse")
    rows = []
    for name in run.names:
        per = lambda tag, value, digits=0: spread(run.values(tag, (name,), value), digits)
        more = lambda tag, value: spread(run.values(tag, (name, "direct"), value), 0)
        of_nginx = spread(run.values("closed64", (name, "nginx"), cpu), 2)
        rss = [row["rss_kib"] / 1024 for row in run.rows if row["name"] == name and "rss_kib" in row and len(row["tag"]) <= 8]
        rows.append([
            name,
            "–" if name == "direct" else per("closed64", lambda r: r["cpu_us_per_req"], 1),
            "–" if name == "direct" else of_nginx,
            per("closed64", lambda r: r["rps"]),
            per("closed1", lambda r: r["lat_us"]["p50"]),
            "–" if name == "direct" else more("open2000", lambda r, d: r["lat_us"]["p50"] - d["lat_us"]["p50"]),
            "–" if name == "direct" else more("open2000", lambda r, d: r["lat_us"]["p99"] - d["lat_us"]["p99"]),
            "–" if name == "direct" else more(streams, lambda r, d: ttft(r, "p50") - ttft(d, "p50")),
            "–" if name == "direct" else per(streams, lambda r: r["cpu_us_per_chunk"], 1),
            f"{max(rss):.0f}" if rss and name != "direct" else "–",
            str(sum(run.lost.get((name, tag), 0) for tag in run.tags)),
        ])
    return rows


def markdown(run, about):
    out = [f"- machine: {about.machine}", f"- versions: {about.versions}", f"- Coalmine with {about.about}",
           f"- {len(run.rounds)} rounds, {about.seconds} s each, {about.long} s where tails are read; median [least to most]", ""]
    out += ["| what | ratio within a round | aim | |", "|---|---|---|---|"]
    for what, found, aim, at_most in ratios(run):
        out.append(f"| {what} | {spread(found, 2)} | {'at most' if at_most else 'at least'} {aim:g} | {verdict(found, aim, at_most)} |")
    head = ["", "CPU µs/request, c=64", "× nginx", "requests/s, c=64", "p50 µs, c=1", "+p50 µs, 2,000/s", "+p99 µs, 2,000/s",
            "+TTFT p50 µs", "CPU µs/chunk", "most RSS, MiB", "failed"]
    out += ["", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    out += ["| " + " | ".join(row) + " |" for row in peers(run)]
    return "\n".join(out) + "\n"


def plot(run):
    """Bars of CPU per request on a logarithmic scale, with the spread of the rounds."""
    bars = []
    for name in run.names:
        found = run.values("closed64", (name,), lambda r: r["cpu_us_per_req"])
        if found and name != "direct":
            bars.append((name, found))
    if not bars:
        return None
    bars.sort(key=lambda bar: median(bar[1]))
    least = 10 ** math.floor(math.log10(min(min(found) for _, found in bars)))
    most = 10 ** math.ceil(math.log10(max(max(found) for _, found in bars)))
    left, width, step, top = 90, 520, 30, 40
    x = lambda us: left + width * math.log(us / least) / math.log(most / least)
    height = top + step * len(bars) + 40
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 90} {height}" font-family="system-ui, sans-serif" font-size="13">',
           f'<rect width="100%" height="100%" fill="#fff"/><text x="{left}" y="22" font-weight="600">CPU per 2 KB chat request, µs, at 64 connections (logarithmic)</text>']
    power = least
    while power <= most:
        out.append(f'<line x1="{x(power):.1f}" x2="{x(power):.1f}" y1="{top}" y2="{height - 34}" stroke="#ddd"/>'
                   f'<text x="{x(power):.1f}" y="{height - 16}" text-anchor="middle" fill="#555">{power:,}</text>')
        power *= 10
    for at, (name, found) in enumerate(bars):
        y, middle = top + step * at + 6, median(found)
        fill = "#c2410c" if name == "coalmine" else "#64748b"
        out.append(f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{name}</text>'
                   f'<rect x="{left}" y="{y}" width="{max(x(middle) - left, 1):.1f}" height="18" fill="{fill}"/>'
                   f'<line x1="{x(min(found)):.1f}" x2="{x(max(found)):.1f}" y1="{y + 9}" y2="{y + 9}" stroke="#111" stroke-width="2"/>'
                   f'<text x="{x(max(found)) + 6:.1f}" y="{y + 13}">{middle:,.0f}</text>')
    return "\n".join(out) + "\n</svg>\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results")
    for name in ("machine", "versions", "about", "seconds", "long"):
        parser.add_argument(f"--{name}", default="not said")
    parser.add_argument("--write", type=pathlib.Path)
    given = parser.parse_args()
    run = Run(given.results)
    measured = markdown(run, given)
    print("\n" + measured)
    if given.write:
        page = given.write / "benchmarks.md"
        text = page.read_text()
        before, rest = text.split(BEGIN, 1)
        _, after = rest.split(END, 1)
        page.write_text(f"{before}{BEGIN}\n{measured}{END}{after}")
        picture = plot(run)
        if picture:
            (given.write / "benchmarks.svg").write_text(picture)
        print(f"written: {page}, {given.write / 'benchmarks.svg'}")


main()
