# SPDX-License-Identifier: GPL-2.0-only
"""The numbers as Markdown, and the aims that they are held against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

Json = dict[str, Any]

BEGIN: Final = "<!-- begin: written by python -m benchmarks --write -->"
END: Final = "<!-- end: written -->"
SMALL, LARGE = "256 MiB", "1 TiB"
#: behind the size: a machine that differs from the other such one in size alone
ALIKE: Final = ", alike"
LOADS: Final = ("hot pair", "mixed", "drain")

MAX_RATIO: Final = 3.0
MAX_BOOT_S: Final = 2.0
MAX_BOOT_MB: Final = 400
REPLAY_OPERATIONS: Final = 200_000
MAX_REPLAY_S: Final = 5.0
MAX_SLOPE: Final = 0.20
MAX_RFC_RATIO: Final = 1.5
#: what the RFC is held against
RFC, RFC_BASE = "rfc", "linux-7.0"


def _us(results: Json, size: str, load: str, api: str, key: str = "min_us") -> float:
    cells = results["speed"]["cells"]
    return float(next(c[key] for c in cells if (c["size"], c["load"], c["api"]) == (size, load, api)))


def _both(results: Json, size: str, load: str, api: str) -> str:
    return f"{_us(results, size, load, api):.2f} / {_us(results, size, load, api, 'median_us'):.2f}"


def _slope(results: Json, load: str, api: str, kind: str = "") -> float:
    """How much more an operation costs on the large machine, as a fraction."""
    return _us(results, LARGE + kind, load, api) / _us(results, SMALL + kind, load, api) - 1


def _variants(results: Json) -> list[str]:
    """The variants that were compared, in their order."""
    return [c["api"] for c in results["speed"]["cells"] if c["size"] == "variants"]


def _against_base(results: Json, variant: str, key: str = "min_us") -> float:
    """How many pairs of the RFC's base a variant's pair costs."""
    return _us(results, "variants", "hot pair", variant, key) / _us(results, "variants", "hot pair", RFC_BASE, key)


def _projected(replay: Json) -> float:
    """Undisturbed CPU seconds that REPLAY_OPERATIONS would take."""
    return float(replay["undisturbed_s"] / replay["operations"] * REPLAY_OPERATIONS)


def _place(row: tuple[str, str]) -> int:
    """Where a load stands in the tables; its rows stay in their order."""
    return LOADS.index(row[0])


def _aim(what: str, found: str, met: bool) -> Json:
    return {"aim": what, "found": found, "met": met}


def _flat(results: Json, kind: str, which: str) -> Json:
    """The aim that size does not matter."""
    slopes = {load: _slope(results, load, "mirrored", kind) for load in LOADS}
    return _aim(
        f"an operation costs at most {MAX_SLOPE:.0%} more at {LARGE} than at {SMALL}, {which}",
        ", ".join(f"{load} {slope:+.0%}" for load, slope in slopes.items()),
        max(slopes.values()) <= MAX_SLOPE,
    )


def aims(results: Json) -> list[Json]:
    """Each aim, what was found, and whether it is met."""
    ratios = results["speed"]["ratios"]
    worst = max(ratios, key=lambda size: ratios[size]["of_minima"])
    large = next(b for b in results["boot"] if b["size"] == LARGE)
    longest = max(results["replay"], key=lambda r: r["operations"])
    ratio, seconds = ratios[worst]["of_minima"], large["boot_cpu_s"]["min"]
    whole = longest["cpu_s"]["min"] / longest["operations"] * REPLAY_OPERATIONS
    resident = (large["rss_booted"] or large["maxrss"] or 0) / 1e6
    return [
        _aim(f"hot pair ≤ {MAX_RATIO:g} sketches, at every size", f"{ratio:.2f} ({worst})", ratio <= MAX_RATIO),
        _aim(f"{LARGE} boots in < {MAX_BOOT_S:g} s of CPU time", f"{seconds:.2f} s", seconds < MAX_BOOT_S),
        _aim(f"{LARGE} booted has < {MAX_BOOT_MB} MB resident", f"{resident:.0f} MB", 0 < resident < MAX_BOOT_MB),
        _aim(
            f"{REPLAY_OPERATIONS} recorded operations replay in < {MAX_REPLAY_S:g} s of CPU time",
            f"{_projected(longest):.2f} s undisturbed, {whole:.2f} s as run, at the rate of {longest['recording']}",
            _projected(longest) < MAX_REPLAY_S,
        ),
        _flat(results, ALIKE, "machines that differ in size alone"),
        _aim(
            f"the hot pair of {RFC} costs at most {MAX_RFC_RATIO:g} of {RFC_BASE}",
            f"{_against_base(results, RFC):.2f}",
            _against_base(results, RFC) <= MAX_RFC_RATIO,
        ),
    ]


def _table(head: Sequence[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _mb(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 1e6:.1f}"


def _two(times: Json) -> str:
    return f"{times['min']:.3f} / {times['median']:.3f}"


REPLAY_HEAD: Final = (
    "recording",
    "operations",
    "undisturbed, s",
    "CPU, s",
    "elapsed, s",
    "operations/s",
    "s for 200 000",
    "peak, MB",
)


def _replay_row(replay: Json) -> list[str]:
    rate = replay["operations"] / replay["undisturbed_s"]
    times = [f"{replay['undisturbed_s']:.3f}", _two(replay["cpu_s"]), _two(replay["wall_s"])]
    return [
        replay["recording"],
        str(replay["operations"]),
        *times,
        f"{rate:.0f}",
        f"{_projected(replay):.2f}",
        _mb(replay["maxrss"]),
    ]


def render(results: Json) -> str:
    """All tables."""
    speed = results["speed"]
    sizes = list(speed["ratios"])
    rows = sorted(dict.fromkeys((c["load"], c["api"]) for c in speed["cells"] if c["size"] in sizes), key=_place)
    timed = [
        [f"{load}, {api}"]
        + [_both(results, size, load, api) for size in sizes]
        + [f"{_slope(results, load, api):+.0%}"]
        for load, api in rows
    ]
    alike = [
        [load]
        + [_both(results, size + ALIKE, load, "mirrored") for size in (SMALL, LARGE)]
        + [f"{_slope(results, load, 'mirrored', ALIKE):+.0%}"]
        for load in LOADS
    ]
    ratios = [speed["ratios"][size] for size in sizes]
    timed.append(["hot pair, mirrored ÷ sketch"] + [f"{r['of_minima']:.2f} / {r['median']:.2f}" for r in ratios] + [""])
    load = " and ".join(", ".join(map(str, results[key] or ["unknown"])) for key in ("load_before", "load_after"))
    return "\n\n".join(
        [
            f"pageblock-buddy {results['pageblock_buddy']}, {results['python']}, {results['machine']}.  "
            f"{results['rounds']} rounds of each loop, {results['repeat']} fresh processes for each boot and replay.  "
            f"Load averages before and after: {load}.",
            "### Aims",
            _table(
                ["aim", "found", "met"],
                [[a["aim"], a["found"], "yes" if a["met"] else "**no**"] for a in results["aims"]],
            ),
            "### Operations",
            "µs of CPU time an operation, minimum / median of the rounds; an operation of the hot pair is one pair.",
            _table(["load, called through", *sizes, f"{LARGE} against {SMALL}"], timed),
            "Mirrored functions on two machines that differ in size alone (one NORMAL zone, the same limits):",
            _table(["load", SMALL, LARGE, f"{LARGE} against {SMALL}"], alike),
            f"The hot pair of each variant, through the mirrored functions, on 16 GiB, and against {RFC_BASE}:",
            _table(
                ["variant", "µs", f"of {RFC_BASE}"],
                [
                    [v, _both(results, "variants", "hot pair", v), f"{_against_base(results, v):.2f}"]
                    for v in _variants(results)
                ],
            ),
            "### Boot and memory",
            "Seconds are minimum / median; megabytes are 10^6 bytes resident, the largest of the processes.",
            _table(
                ["machine", "boot, CPU s", "elapsed, s", "before, MB", "booted, MB", "after the loads, MB", "peak, MB"],
                [
                    [b["size"], _two(b["boot_cpu_s"]), _two(b["boot_wall_s"])]
                    + [_mb(b[key]) for key in ("rss_before", "rss_booted", "rss_loaded", "maxrss")]
                    for b in results["boot"]
                ],
            ),
            "### Replay",
            "Seconds are minimum / median.  Undisturbed is the sum of what each piece of 512 items took at best, in "
            "CPU seconds; rates and projections are made from it.",
            _table(
                REPLAY_HEAD,
                [_replay_row(replay) for replay in results["replay"]],
            ),
        ]
    )


def replaced(page: str, text: str) -> str:
    """The page with ``text`` between its two marks.  ValueError if they are not there."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("docs/performance.md has lost its marks")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"
