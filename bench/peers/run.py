"""Run the same churn on every peer, one at a time, and put the figures side by side."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from peers import control, measure, peer, table
from peers.measure import PeerFailed, Workload
from peers.peer import ROOT, NotInstalled, Peer
from peers.results import Results

if TYPE_CHECKING:
    from collections.abc import Callable

RECORDS = 4_000_000
BUDGET_BYTES = 5 << 30
BUDGET_LEAST_BYTES = 64 << 20
RESULTS = "results.json"
KEYS = ("subduct", "subduct-python", "zgc", "shenandoah", "g1", "parallel", "go", "cpython", "malloc")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make peers", description=__doc__)
    parser.add_argument("--records", type=int, default=RECORDS, help="alive at a time, of all threads")
    parser.add_argument("--operations", type=int, help="of all threads; three for each record if not given")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3, help="of each peer")
    parser.add_argument(
        "--budget", type=int, help="of each heap, in bytes; 5 GiB for four million records if not given"
    )
    parser.add_argument("--peers", default=",".join(KEYS), help="some of: %(default)s")
    parser.add_argument("--control-seconds", type=float, default=5.0, help="of each control before a round")
    parser.add_argument("--output", type=Path, default=ROOT / "target/peers", help="folder of the results")
    parser.add_argument(
        "--plot-python", type=Path, default=ROOT / "target/bench/bin/python", help="that has matplotlib"
    )
    parser.add_argument("--document", action="store_true", help="put table and picture into docs/ too")
    parser.add_argument("--again", action="store_true", help="measure nothing, report the last results")
    args = parser.parse_args()
    if unknown := set(args.peers.split(",")) - set(KEYS):
        parser.error(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(KEYS)}")
    return args


def workload_of(args: argparse.Namespace) -> Workload:
    """The size that was asked for; a smaller one gets a heap in proportion."""
    budget_bytes = max(BUDGET_LEAST_BYTES, BUDGET_BYTES * args.records // RECORDS)
    operations = 3 * args.records if args.operations is None else args.operations
    return Workload(args.records, operations, args.threads, args.seed, args.budget or budget_bytes)


def installed(wanted: list[str], build: Path, budget_bytes: int) -> tuple[list[Peer], list[str]]:
    """The wanted peers that this machine has, in the wanted order; why it has not the others. Raises NotInstalled where nothing is
    left."""
    found: dict[str, Peer] = {}
    absent: list[str] = []
    makers: tuple[tuple[set[str], Callable[[], list[Peer]]], ...] = (
        ({"subduct", "malloc"}, peer.native),
        ({"subduct-python", "cpython"}, peer.python),
        ({"zgc", "shenandoah", "g1", "parallel"}, lambda: peer.java(build, budget_bytes)),
        ({"go"}, lambda: [peer.go(build)]),
    )
    for keys, make in makers:
        if keys & set(wanted):
            try:
                found |= {each.key: each for each in make()}
            except NotInstalled as missing:
                absent.append(f"{', '.join(sorted(keys & set(wanted)))}: {missing}")
    peers = [found[key] for key in wanted if key in found]
    if not peers:
        raise NotInstalled("; ".join(absent))
    return peers, absent


def measure_all(args: argparse.Namespace) -> Results:
    """Round after round, so that what the machine does in the meantime strikes all alike."""
    workload = workload_of(args)
    peers, absent = installed(args.peers.split(","), args.output, workload.budget_bytes)
    results = Results.begin(workload, peers, absent)
    for number in range(1, args.runs + 1):
        results.add_control(control.take(peer.native_binary(), args.control_seconds))
        for each in peers:
            found = results.of(each)
            if found.error:
                continue
            try:
                run = measure.call(each, workload, args.output)
            except PeerFailed as failed:
                found.error = str(failed)
                print(f"round {number}: {failed}", file=sys.stderr)
                continue
            results.add(each, run)
            print(
                f"round {number}: {each.title}: {run.operations_per_s / 1e3:,.0f} thousand operations/s,"
                f" worst hiccup {run.sleeper.max_ns / 1e6:.2f} ms, worst operation {run.operation.max_ns / 1e6:.2f} ms",
                file=sys.stderr,
            )
        results.write(args.output / RESULTS)
    return results


def main() -> int:
    """Measure and report. The exit status says whether every peer ran to its end."""
    args = parse()
    args.output.mkdir(parents=True, exist_ok=True)
    kept = args.output / RESULTS
    results = Results.read(kept) if args.again else measure_all(args)
    text = table.report(results)
    (args.output / "table.md").write_text(text)
    print(text)
    picture = args.output / "peers.svg"
    plotting = [str(args.plot_python), str(Path(__file__).parent / "plot.py"), str(kept), str(picture)]
    subprocess.run(plotting, check=True)
    print(f"{picture}, {kept}", file=sys.stderr)
    if args.document:
        document = ROOT / "docs/performance.md"
        document.write_text(table.into_document(document.read_text(), text, picture.name))
        (document.parent / picture.name).write_text(picture.read_text())
    return 1 if any(each.error for each in results.peers) else 0


if __name__ == "__main__":
    sys.exit(main())
