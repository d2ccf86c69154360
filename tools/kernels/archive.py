"""Kernel images from the archive that this machine's apt uses, unpacked into a folder and never installed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kernels.failure import KernelsError
from kernels.series import SUITES, Series, newest

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# A package is some 100 MB; a mirror that takes longer is not answering.
_TIMEOUT_S = 900


@dataclass(frozen=True, slots=True)
class Kernel:
    """An unpacked kernel: its exact release, the package's version, and where its image is."""

    series: Series
    release: str
    package_version: str
    image: Path


class Archive:
    """The cache folder, with apt state of its own beside the unpacked kernels."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._updated = False

    def kernel(self, series: Series) -> Kernel:
        """A series' kernel, from the cache where it is there.

        Raises KernelsError when no suite has it whole, or when apt or dpkg-deb fail.
        """
        home = self._folder / "images" / series.version
        record = home / "kernel.json"
        if not record.exists():
            self._fetch(series, home)
        facts = json.loads(record.read_text())
        release = str(facts["release"])
        root = home / "root"
        return Kernel(series, release, str(facts["package_version"]), root / image_below(root, release))

    def _fetch(self, series: Series, home: Path) -> None:
        self._update()
        names = self._apt("apt-cache", "pkgnames", "linux-image-").split()
        package = newest(series, names)
        if package is None:
            suites = ", ".join(SUITES)
            raise KernelsError(
                f"no kernel {series.version}: neither this machine's own suites nor {suites} on its mirror have a package "
                f"named like {series.package.pattern}; `apt-get indextargets` says which mirror that is"
            )
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        release = package.removeprefix("linux-image-")
        packages = [package, *parts(release, self._apt("apt-cache", "depends", "--important", package))]
        self._apt("apt-get", "download", *packages, folder=home)
        root = home / "root"
        for deb in sorted(home.glob("*.deb")):
            _call(["dpkg-deb", "--extract", str(deb), str(root)])
            version = _call(["dpkg-deb", "--field", str(deb), "Version"]).strip()
            deb.unlink()
        # modprobe looks below lib or usr/lib, according to how it was built.
        modules = root / "usr" / "lib" / "modules"
        if modules.is_dir() and not (root / "lib").exists():
            (root / "lib").symlink_to("usr/lib")
        _call(["depmod", "--basedir", str(root), release])
        facts = {"release": release, "package": package, "package_version": version}
        record = home / "kernel.json"
        record.with_suffix(".new").write_text(json.dumps(facts, indent=2))
        record.with_suffix(".new").rename(record)

    def _update(self) -> None:
        if self._updated:
            return
        for part in ("lists/partial", "cache/archives/partial"):
            (self._folder / "apt" / part).mkdir(parents=True, exist_ok=True)
        signed = f"[signed-by={_KEYRING}] " if _KEYRING.exists() else ""
        lines = [f"deb {signed}{address} {suite} main" for address, suite in _sources()]
        (self._folder / "apt" / "sources.list").write_text("\n".join(lines) + "\n")
        # A suite that a mirror has dropped must not keep the others away: a missing kernel is noticed by its name.
        self._apt("apt-get", "update", allow_failure=True)
        self._updated = True

    def _apt(self, program: str, *arguments: str, folder: Path | None = None, allow_failure: bool = False) -> str:
        apt = self._folder / "apt"
        options = {
            "Dir::Etc::SourceList": apt / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::State::Lists": apt / "lists",
            "Dir::Cache": apt / "cache",
        }
        if os.geteuid() == 0:
            # The cache folder need not be open to the user that apt drops to.
            options["APT::Sandbox::User"] = "root"
        settings = [part for name, value in options.items() for part in ("--option", f"{name}={value}")]
        return _call([program, *settings, *arguments], folder=folder, allow_failure=allow_failure)


def parts(release: str, depends: str) -> list[str]:
    """The packages of the same release that an image's package depends on, from what `apt-cache depends` prints.

    Newer releases split what was one package: the image's own is empty then. Raises KernelsError when no suite has one of them;
    linux-base may be lacking, as suites drop it before the image: it has lists of the modules, and nothing that runs.
    """
    found = re.findall(rf"^ *Depends: (<?)(linux-[a-z]+-{re.escape(release)})>?$", depends, re.MULTILINE)
    # Apt writes names that it only knows from others in angle brackets.
    lacking = [name for bracket, name in found if bracket and name != f"linux-base-{release}"]
    if lacking:
        raise KernelsError(f"no suite has {', '.join(lacking)}, without which the image of {release} is of no use")
    return [name for bracket, name in found if not bracket]


def image_below(root: Path, release: str) -> Path:
    """Where the image of a release is below the folder that its packages were unpacked to.

    Raises KernelsError when it is at none of the places that Debian has used.
    """
    places = (Path("boot", f"vmlinuz-{release}"), Path("usr", "lib", "modules", release, "vmlinuz"))
    for place in places:
        if (root / place).exists():
            return place
    raise KernelsError(f"the packages of {release} have no image: not {' nor '.join(map(str, places))}")


def _sources() -> list[tuple[str, str]]:
    """Addresses and suites: what this machine's apt uses, and the suites wanted, on the mirror of its own release."""
    listed = _call(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"]
    )
    own = [(fields[0], fields[1]) for fields in map(str.split, listed.splitlines()) if fields[2:] == ["main"]]
    release = _codename()
    mirror = next((address for address, suite in own if suite == release), None)
    if mirror is None:
        raise KernelsError(
            f"this machine's apt has no source for its own release ({release}, main); only Debian will do"
        )
    return list(dict.fromkeys([*own, *((mirror, suite) for suite in SUITES)]))


def _codename() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        name, _, value = line.partition("=")
        if name == "VERSION_CODENAME":
            return value.strip('"')
    raise KernelsError("/etc/os-release has no VERSION_CODENAME; only Debian will do")


def _call(command: list[str], *, folder: Path | None = None, allow_failure: bool = False) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        raise KernelsError(f"{command[0]} not found; install it (Debian: apt, dpkg, kmod)") from None
    except subprocess.TimeoutExpired:
        raise KernelsError(f"{command[0]} did not end within {_TIMEOUT_S} s") from None
    if done.returncode and not allow_failure:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise KernelsError(f"{command[0]} failed with exit code {done.returncode}: {last}")
    return done.stdout
