"""Run Python code as the user nobody."""

import os
import subprocess
import sys
import textwrap

NOBODY = 65534

# The interpreter may lie where only its owner can look, so what the code needs is imported before. A process that changed its user
# counts as unsafe to look into, also for itself, until it says otherwise.
_BECOME = f"""
import ctypes, os
if os.getuid() == 0:
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
"""


def as_nobody(imports: str, code: str, *, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
    """Runs `imports`, becomes nobody (where this is root), runs `code`."""
    program = textwrap.dedent(imports) + _BECOME + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        cwd="/",
    )
