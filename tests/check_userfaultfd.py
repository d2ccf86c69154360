"""Fail if the tests went around userfaultfd on a kernel that has it: check_userfaultfd.py EVIDENCE_FILE."""

import json
import sys
from pathlib import Path

from harness.kernel import has_userfaultfd


def main(path: Path) -> int:
    """Exit code: 0 if objects were moved and faults served through userfaultfd, or the kernel has none."""
    if not has_userfaultfd():
        print("userfaultfd: this kernel or container has none; deliveries other than sigbus were tested")
        return 0
    try:
        figures = json.loads(path.read_text())
    except FileNotFoundError:
        print(f"userfaultfd: {path} is missing: the Python tests did not finish", file=sys.stderr)
        return 1
    idle = [name for name in ("cycles_moved", "faults_served", "pages_installed") if figures[name] == 0]
    if idle:
        print(f"userfaultfd: the kernel has it, but the tests left these at 0: {', '.join(idle)}", file=sys.stderr)
        return 1
    print("userfaultfd: " + ", ".join(f"{name} {value}" for name, value in figures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
