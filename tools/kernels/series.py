"""Which kernels are tried, and what each must show."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Series:
    """One kernel series of Debian, by the version it starts with."""

    #: Major and minor number, as in `5.10`.
    version: str

    @property
    def numbers(self) -> tuple[int, int]:
        """The version for comparing."""
        major, minor = self.version.split(".")
        return int(major), int(minor)

    @property
    def package(self) -> re.Pattern[str]:
        """Names of packages with this series' full image; those for clouds lack 9p, which the guest's root is."""
        return re.compile(rf"linux-image-{re.escape(self.version)}\.\d+[\w.+-]*?-amd64")


#: The oldest that has MREMAP_DONTUNMAP, without the widened rule; then the long-term kernels since, and what else the suites
#: have whole.
SERIES = tuple(map(Series, ("5.10", "6.1", "6.12", "6.16", "6.17", "6.18", "7.2", "7.3")))

#: Suites that have them, beside those that this machine's apt knows.
SUITES = ("bullseye", "bookworm", "bookworm-backports", "trixie-backports", "testing", "sid")

#: The name of the column for the kernel that runs already.
HOST = "host"

_FLAVOURS = re.compile(r"-(cloud|rt)-amd64$")


def newest(series: Series, names: list[str]) -> str | None:
    """The newest of the packages that hold a series' full image, by the numbers in their names; None without any."""
    fitting = [name for name in names if series.package.fullmatch(name) and not _FLAVOURS.search(name)]
    return max(fitting, key=lambda name: [int(number) for number in re.findall(r"\d+", name)], default=None)


def widened(release: str) -> bool:
    """Whether a kernel of this release moves shared memory with MREMAP_DONTUNMAP: 5.13 and later do."""
    numbers = re.match(r"(\d+)\.(\d+)", release)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) >= (5, 13)
