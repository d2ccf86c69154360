"""Fail if the tests went around a delivery that this kernel allows: check_userfaultfd.py EVIDENCE_FILE."""

import json
import sys
from pathlib import Path

from harness.kernel import has_userfaultfd

# Heaps with these catch accesses to pages that are not ready: through userfaultfd, or without.
THROUGH_USERFAULTFD = ("sigbus", "thread")
WITHOUT = ("software",)
FIGURES = ("cycles_moved", "faults_served", "pages_ready")


def main(path: Path) -> int:
    """Exit code: 0 if objects were moved and faults served through every delivery that this kernel allows."""
    required: tuple[str, ...] = WITHOUT
    if has_userfaultfd():
        required += THROUGH_USERFAULTFD
    else:
        print("userfaultfd: this kernel or container has none; only deliveries that need none were tested")
    try:
        evidence = json.loads(path.read_text())
    except FileNotFoundError:
        print(f"userfaultfd: {path} is missing: the Python tests did not finish", file=sys.stderr)
        return 1
    failed = False
    for delivery in required:
        sums = evidence.get(delivery, {})
        idle = [name for name in FIGURES if sums.get(name, 0) == 0]
        failed |= bool(idle)
        if idle:
            print(f"{delivery}: possible here, but the tests left these at 0: {', '.join(idle)}", file=sys.stderr)
        else:
            print(f"{delivery}: " + ", ".join(f"{name} {value}" for name, value in sums.items()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
