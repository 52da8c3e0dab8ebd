#!/usr/bin/env python3
"""The ratios that the project holds itself to, from the bench's JSON lines: medians over rounds, with their spread."""
import json
import statistics
import sys

rows = [json.loads(line) for line in open(sys.argv[1]) if line.strip().startswith("{")]
by = {(r["name"], r["tag"], r["round"]): r for r in rows}
rounds = sorted({r["round"] for r in rows})
tags = sorted({r["tag"] for r in rows})


def over_rounds(tag, value):
    """`value(coalmine, direct, nginx, floor)` in each round that has all four."""
    found = []
    for k in rounds:
        four = [by.get((name, tag, k)) for name in ("coalmine", "direct", "nginx", "floor")]
        if all(r and r.get("ok") for r in four):
            try:
                found.append(value(*four))
            except (KeyError, TypeError, ZeroDivisionError):
                continue
    return found


def ttft(row, q):
    return row["req_leg_us"][q] + row["first_leg_us"][q]


def line(what, tag, value, aim):
    found = over_rounds(tag, value)
    if not found:
        print(f"| {what} | - | {aim} | not measured |")
        return
    middle = statistics.median(found)
    verdict = "met" if middle <= aim else "NOT met"
    print(f"| {what} | {middle:.2f} [{min(found):.2f} to {max(found):.2f}] | {aim} | {verdict} |")


sse = next((t for t in tags if t.startswith("sse") and len(t) <= 6), None)
print("\n### Ratios within the same round: median [min to max] against the aim\n\n| what | ratio | aim, at most | |\n|---|---|---|---|")
line("CPU per 2 KB chat request, c=64, of nginx's", "closed64", lambda c, d, n, f: c["cpu_us_per_req"] / n["cpu_us_per_req"], 2.5)
line("added p50 at 2,000 rps, of the bare proxy's", "open2000", lambda c, d, n, f: (c["lat_us"]["p50"] - d["lat_us"]["p50"]) / (f["lat_us"]["p50"] - d["lat_us"]["p50"]), 1.5)
line("added p99 at 2,000 rps, of the bare proxy's", "open2000", lambda c, d, n, f: (c["lat_us"]["p99"] - d["lat_us"]["p99"]) / (f["lat_us"]["p99"] - d["lat_us"]["p99"]), 1.5)
if sse:
    line(f"added TTFT p50 at {sse[3:]} streams, of the bare proxy's", sse, lambda c, d, n, f: (ttft(c, "p50") - ttft(d, "p50")) / (ttft(f, "p50") - ttft(d, "p50")), 1.5)
    line(f"added TTFT p99 at {sse[3:]} streams, of the bare proxy's", sse, lambda c, d, n, f: (ttft(c, "p99") - ttft(d, "p99")) / (ttft(f, "p99") - ttft(d, "p99")), 1.5)
    line(f"CPU per chunk at {sse[3:]} streams, of nginx's", sse, lambda c, d, n, f: c["cpu_us_per_chunk"] / n["cpu_us_per_chunk"], 1.5)
for tag in tags:
    if tag.startswith("sse") and len(tag) > 6:
        c, f = by.get(("coalmine", tag, 1)), by.get(("floor", tag, 1))
        if c and f and c.get("ok") and f.get("ok"):
            ratio = c["rss_kib"] / f["rss_kib"]
            lost = c.get("bad", 0) + c.get("io", 0)
            print(f"| memory at {tag[3:]} streams, of the bare proxy's ({c['rss_kib'] / 1024:.0f} / {f['rss_kib'] / 1024:.0f} MiB; streams lost: {lost}) | {ratio:.2f} | 2.0 | {'met' if ratio <= 2 and not lost else 'NOT met'} |")
