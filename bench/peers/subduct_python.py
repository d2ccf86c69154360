"""The workload on a subduct heap, through its Python proxies."""

from __future__ import annotations

import dataclasses
import platform
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from peers.churn import churn, finish, parse
from subduct import Heap, __version__


def main() -> None:
    """Run the workload and print what it found."""
    parser = parse(__doc__ or "")
    parser.add_argument("--budget", type=int, default=5 << 30, help="of the heap, in bytes")
    parser.add_argument("--delivery", help="chosen by the heap if not given")
    args = parser.parse_args()
    keys = 2 * (args.records // args.threads)
    with Heap(args.budget, delivery=args.delivery, name="peers") as heap:
        root = heap.root
        root["beacon"] = 1
        root["shards"] = []
        for _ in range(args.threads):
            root["shards"].append([None] * keys)
        result = churn(args, list(root["shards"]), lambda: root["beacon"])
        result["runtime"] = f"subduct {__version__} on {platform.python_implementation()} {platform.python_version()}"
        result["heap"] = dataclasses.asdict(heap.stats())
        finish(result)


if __name__ == "__main__":
    main()
