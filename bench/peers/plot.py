"""The results as one picture. Needs matplotlib: `python plot.py results.json picture.svg`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

sys.path.insert(0, str(Path(__file__).parents[1]))

from peers.results import PERCENTILES, Results

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "peers"

from matplotlib import pyplot as plt  # noqa: E402

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from peers.results import PeerResults

#: Warm colours for subduct, cold ones for the others, grey where nothing is collected.
COLOURS = {
    "subduct": "#c8321e",
    "subduct-python": "#ee8a1d",
    "zgc": "#12355b",
    "shenandoah": "#2f6fb3",
    "g1": "#3fa7d6",
    "parallel": "#8fb8de",
    "go": "#2a9d77",
    "cpython": "#7a4fa3",
    "malloc": "#8a8a8a",
}
#: What stops are drawn: name of the figure, how many of its unit are a millisecond, mark, and text.
MARKS: tuple[tuple[str, float, str, str], ...] = (
    ("pause_max_us", 1e3, "o", "longest pause"),
    ("sleeper_max_ms", 1, "s", "worst hiccup"),
    ("operation_max_ms", 1, "^", "worst operation"),
)


def colour(peer: PeerResults) -> str:
    """The same in every part of the picture."""
    return COLOURS[peer.key]


def label(axes: Axes, peers: list[PeerResults]) -> None:
    """The peers' names, the first at the top."""
    axes.set_yticks(range(len(peers)), [peer.title for peer in peers])
    axes.invert_yaxis()
    axes.grid(visible=True, axis="x", which="major", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def stops(axes: Axes, peers: list[PeerResults], alone_ms: float) -> None:
    """The longest stops of each kind, with the spread of the runs."""
    for row, peer in enumerate(peers):
        for shift, (name, scale, mark, _) in zip((-0.22, 0.0, 0.22), MARKS, strict=True):
            values = [value / scale for value in peer.values(name)]
            if values and values[-1] > 0:
                axes.plot([values[0], values[-1]], [row + shift] * 2, color=colour(peer), alpha=0.45, linewidth=3)
                axes.plot(peer.median(name) / scale, row + shift, mark, color=colour(peer), markersize=5)
    for _, _, mark, text in MARKS:
        axes.plot([], [], mark, color="black", markersize=5, label=text)
    axes.axvline(alone_ms, color=COLOURS["malloc"], linestyle=":", linewidth=1, label="worst hiccup, machine idle")
    axes.set_xscale("log")
    axes.set_xlabel("ms, logarithmic; median and spread of the runs")
    axes.set_title("Longest stops", loc="left")
    axes.legend(fontsize=7, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    label(axes, peers)


def bars(axes: Axes, peers: list[PeerResults], name: str, scale: float, title: str, unit: str) -> None:
    """A bar for each peer, with the spread of the runs."""
    for row, peer in enumerate(peers):
        values = [value / scale for value in peer.values(name)]
        middle = peer.median(name) / scale
        errors = [[middle - values[0]], [values[-1] - middle]]
        axes.barh(row, middle, xerr=errors, color=colour(peer), height=0.6, error_kw={"linewidth": 1, "capsize": 2})
    axes.set_xlabel(unit)
    axes.set_title(title, loc="left")
    label(axes, peers)


def tails(axes: Axes, peers: list[PeerResults]) -> None:
    """How long the slowest operations took, by how rare they are."""
    styles = ("-", "--")
    for i, peer in enumerate(peers):
        times_us = [peer.median(f"operation_p{percent:g}_us") for percent in PERCENTILES]
        rarity = [100 / (100 - percent) for percent in PERCENTILES]
        axes.plot(rarity, times_us, styles[i % 2], color=colour(peer), linewidth=1.8, label=peer.title)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("one operation in so many takes this long or longer")
    axes.set_ylabel("us")
    axes.set_title("Operations, each from the end of the one before", loc="left")
    axes.grid(visible=True, alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7)


def main() -> None:
    """Draw the picture."""
    source, target = sys.argv[1:]
    results = Results.read(Path(source))
    peers = [peer for peer in results.peers if peer.runs]
    figure, axes = plt.subplots(2, 2, figsize=(13, 9), layout="constrained")
    stops(axes[0][0], peers, max(results.sleeper_alone_max_ms))
    tails(axes[0][1], peers)
    bars(axes[1][0], peers, "operations_per_s", 1e3, "Throughput of the churn", "thousand operations a second")
    bars(axes[1][1], peers, "peak_bytes", 2**20, "Peak memory", "MiB")
    figure.suptitle(
        f"The same churn on each: {results.workload.records:,} records. {results.machine.line()}", fontsize=9
    )
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    main()
