"""The README's examples run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def run(example: str) -> str:
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_heap_example_runs() -> None:
    budget, live = run(EXAMPLES[0]).splitlines()[0].split()
    assert int(budget) == 256 << 20
    assert 0 < int(live) < int(budget)


def test_the_bindings_example_runs_and_there_are_no_more() -> None:
    assert "from subduct.kernel" in EXAMPLES[1]
    assert run(EXAMPLES[1]) == ""
    assert len(EXAMPLES) == 2
