"""The README's example runs as it stands."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_example_in_the_readme_runs() -> None:
    examples = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(examples) == 1
    done = subprocess.run([sys.executable, "-c", examples[0]], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    budget, live = done.stdout.splitlines()[0].split()
    assert int(budget) == 256 << 20
    assert 0 < int(live) < int(budget)
