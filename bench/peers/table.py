"""The results as Markdown: one table, and what is needed to read it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from peers.utilisation import WINDOWS_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from peers.results import PeerResults, Results

MIB = 2**20


def number(value: float) -> str:
    """Three significant digits, thousands apart, no exponent."""
    for limit, digits in ((100, 0), (10, 1), (1, 2)):
        if abs(value) >= limit:
            return f"{value:,.{digits}f}"
    return f"{value:.3f}".rstrip("0").rstrip(".") if value else "0"


def spread(peer: PeerResults, name: str, scale: float = 1.0) -> str:
    """The median and, where there are several runs, the smallest and the largest."""
    values = [value / scale for value in peer.values(name)]
    if not values:
        return "-"
    middle = number(peer.median(name) / scale)
    extent = span(values)
    return middle if extent == middle else f"{middle} ({extent})"


def span(values: Iterable[float]) -> str:
    """The smallest and the largest, or the only one."""
    ordered = sorted(values)
    low, high = number(ordered[0]), number(ordered[-1])
    return low if low == high else f"{low} to {high}"


def mutator_utilisation(peer: PeerResults) -> str:
    """The median for each window; an upper bound where not all long operations could be kept."""
    bound = "at most " if any(peer.values("stalls_dropped")) else ""
    return bound + " / ".join(f"{peer.median(f'utilisation_{window_ms}_ms'):.2f}" for window_ms in WINDOWS_MS)


def pauses(peer: PeerResults) -> str:
    """Number, median and 99th percentile: the longest has a column of its own."""
    if not peer.values("pauses"):
        return "-"
    return (
        f"{peer.median('pauses'):,.0f}: {number(peer.median('pause_p50_us'))} / {number(peer.median('pause_p99_us'))}"
    )


COLUMNS: tuple[tuple[str, Callable[[PeerResults], str]], ...] = (
    ("peer", lambda peer: peer.title + (" [1]" if peer.has_gil else "")),
    ("longest pause, us", lambda peer: spread(peer, "pause_max_us")),
    ("pauses: p50 / p99, us", pauses),
    ("worst hiccup, ms", lambda peer: spread(peer, "sleeper_max_ms")),
    ("worst operation, ms", lambda peer: spread(peer, "operation_max_ms")),
    ("operation p99.9, us", lambda peer: spread(peer, "operation_p99.9_us")),
    ("utilisation 1 / 10 / 100 ms", mutator_utilisation),
    ("operations/s, thousands", lambda peer: spread(peer, "operations_per_s", 1e3)),
    ("filling, s", lambda peer: spread(peer, "fill_s")),
    ("peak memory, MiB", lambda peer: spread(peer, "peak_bytes", MIB)),
)


def table(results: Results) -> str:
    """All peers that ran, side by side."""
    rows = [[title for title, _ in COLUMNS], ["---" if i == 0 else "---:" for i in range(len(COLUMNS))]]
    rows += [[cell(peer) for _, cell in COLUMNS] for peer in results.peers if peer.runs]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def inside(results: Results) -> list[str]:
    """What operations on a subduct heap took by the heap's own clock, without what threads waited for the interpreter."""
    return [
        f"{peer.title}: inside the heap the longest operation took {spread(peer, 'inside_operation_max_ms')} ms, the longest wait"
        f" for memory {spread(peer, 'inside_wait_max_ms')} ms."
        for peer in results.peers
        if peer.values("inside_operation_max_ms")
    ]


#: Figures to compare: name, what it is, unit, scale, and whether more is better.
COMPARED = (
    ("pause_max_us", "longest pause", "us", 1.0, False),
    ("sleeper_max_ms", "worst hiccup", "ms", 1.0, False),
    ("operation_max_ms", "worst operation", "ms", 1.0, False),
    ("operation_p99.9_us", "99.9th percentile of the operations", "us", 1.0, False),
    ("operations_per_s", "throughput", "thousand operations/s", 1e3, True),
    ("peak_bytes", "peak memory", "MiB", MIB, False),
)
#: Whom each of ours is compared with.
RIVALS = {
    "subduct": ("zgc", "shenandoah", "g1", "parallel", "go"),
    "subduct-python": ("cpython",),
}


def better(results: Results) -> list[str]:
    """Where a peer does better than subduct, by medians: one line for each of ours that has rivals here."""
    by_key = {peer.key: peer for peer in results.peers if peer.runs}
    lines = []
    for key, rivals in RIVALS.items():
        if key not in by_key or not set(rivals) & set(by_key):
            continue
        ours, found = by_key[key], []
        for name, what, unit, scale, more in COMPARED:
            have = [by_key[rival] for rival in rivals if rival in by_key and by_key[rival].values(name)]
            winners = [peer for peer in have if (peer.median(name) > ours.median(name)) == more]
            winners = [peer for peer in winners if peer.median(name) != ours.median(name)]
            if winners:
                figures = ", ".join(f"{peer.title} {number(peer.median(name) / scale)}" for peer in winners)
                found.append(f"{what} ({figures}, against {number(ours.median(name) / scale)} {unit})")
        lines.append(f"Others do better than {ours.title}: {'; '.join(found) or 'nowhere in this table'}.")
    return lines


def reason(error: str) -> str:
    """The line of an error that says why: a trace's last cause, or the last line."""
    lines = [line for line in error.splitlines() if line.strip()]
    causes = [line for line in lines if line.startswith("Caused by:")]
    return (causes or lines or ["it did not say"])[-1].strip()


def report(results: Results) -> str:
    """The table, on what it was measured, and what each column means."""
    workload = results.workload
    runs = max((len(peer.runs) for peer in results.peers), default=0)
    alone, waits = span(results.sleeper_alone_max_ms), span(results.interpreter_max_ms)
    lines = [
        f"{results.machine.line()}. {workload.records:,} records, {workload.operations:,} operations on {workload.threads} threads,"
        f" seed {workload.seed}, heap limit {workload.budget_bytes / MIB:,.0f} MiB. Median of {runs} runs each, smallest and largest"
        " in parentheses, one process at a time. All peers did the same operations and ended with the same records"
        f" ({results.outcome[0] if results.outcome else 'no run'}).",
        "",
        table(results),
        "",
        f"The machine by itself: the 1 ms sleeper alone was at most {alone} ms late. [1] Python threads take turns: two of them that"
        f" only count are held up for at most {waits} ms by each other, and such waits are in the hiccups, operations and utilisation of"
        " these rows.",
        *inside(results),
        "",
        *better(results),
        "",
    ]
    lines += [f"- {peer.title}: {peer.runtime}" for peer in results.peers if peer.runs]
    lines += [
        f"- {peer.title}: no figures, because it failed: {reason(peer.error)}" for peer in results.peers if peer.error
    ]
    lines += [f"- Not here: {reason}" for reason in results.absent]
    return "\n".join(lines) + "\n"


BEGIN, END = "<!-- peers: begin, written by `make peers` -->", "<!-- peers: end -->"


def into_document(document: str, text: str, picture: str) -> str:
    """The document with `text` and the picture between its two markers. Raises ValueError where they are missing."""
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    if len(pattern.findall(document)) != 1:
        raise ValueError(f"the document needs the markers {BEGIN} and {END} once")
    shown = f"![Longest stops, operations by rarity, throughput and peak memory of every peer]({picture})"
    return pattern.sub(lambda _: f"{BEGIN}\n\n{text}\n{shown}\n\n{END}", document)
