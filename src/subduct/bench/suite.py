"""All benchmarks, by name."""

from subduct.bench.benchmark import Benchmark
from subduct.bench.delivery import DELIVERY
from subduct.bench.fault import FAULT
from subduct.bench.hiccup import HICCUP
from subduct.bench.mark import MARK
from subduct.bench.memory import MEMORY
from subduct.bench.move import MOVE
from subduct.bench.pause import PAUSE

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark for benchmark in (PAUSE, FAULT, MOVE, MARK, HICCUP, MEMORY, DELIVERY)
}
