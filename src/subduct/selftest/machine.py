"""The machine and the user a self-test runs on."""

from __future__ import annotations

import os
import pwd
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from subduct.selftest.assumption import Release


@dataclass(frozen=True)
class Machine:
    """Where and as whom."""

    kernel: str
    """The full release, such as `6.1.0-28-amd64`."""
    release: Release
    architecture: str
    page_bytes: int
    user: str
    uid: int

    @classmethod
    def here(cls) -> Machine:
        """This machine, asked now."""
        system = os.uname()
        found = re.match(r"(\d+)\.(\d+)", system.release)
        uid = os.geteuid()
        try:
            user = pwd.getpwuid(uid).pw_name
        except KeyError:
            user = str(uid)
        return cls(
            kernel=system.release,
            release=(int(found[1]), int(found[2])) if found else (0, 0),
            architecture=system.machine,
            page_bytes=os.sysconf("SC_PAGE_SIZE"),
            user=user,
            uid=uid,
        )
