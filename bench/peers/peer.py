"""The peers: how each is built and called."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@dataclass(frozen=True)
class Peer:
    """One way to run the workload. `command` is complete but for the workload's options; `{log}` in it stands for a file that the
    runtime writes its pauses to."""

    key: str
    title: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    #: Its threads wait for each other's turn with the interpreter.
    has_gil: bool = False

    @property
    def has_log(self) -> bool:
        """Whether the runtime writes a log of its pauses."""
        return any("{log}" in word for word in self.command)


class NotInstalled(RuntimeError):  # noqa: N818
    """What a peer needs is not on this machine."""


def find_jdk() -> Path:
    """Where `java` and `javac` are: in JAVA_HOME, among the system's versions 17, or on the PATH. Raises NotInstalled."""
    homes = [Path(home) for home in (os.environ.get("JAVA_HOME"),) if home]
    homes += sorted(Path("/usr/lib/jvm").glob("java-17-openjdk-*"))
    if found := shutil.which("javac"):
        homes.append(Path(found).resolve().parents[1])
    for home in homes:
        if (home / "bin/javac").exists():
            return home / "bin"
    raise NotInstalled("no JDK found; install openjdk-17-jdk-headless or set JAVA_HOME")


def java(build: Path, budget_bytes: int) -> list[Peer]:
    """Java's collectors, the program compiled into `build`. Raises NotInstalled, CalledProcessError."""
    jdk = find_jdk()
    classes = build / "java"
    sources = sorted(str(path) for path in (HERE / "java").glob("*.java"))
    subprocess.run([str(jdk / "javac"), "-Xlint:all", "-Werror", "-d", str(classes), *sources], check=True)
    options = (
        f"-Xmx{budget_bytes}",
        "-Xlog:gc*,safepoint:file={log}:uptimenanos,tags:filecount=0",
        "-cp",
        str(classes),
        "Churn",
    )
    collectors = (("zgc", "ZGC"), ("shenandoah", "Shenandoah"), ("g1", "G1"), ("parallel", "Parallel"))
    return [
        Peer(key, f"Java, {name}", (str(jdk / "java"), f"-XX:+Use{name}{'' if name == 'ZGC' else 'GC'}", *options))
        for key, name in collectors
    ]


def go(build: Path) -> Peer:
    """Go's collector, the program compiled into `build`. Raises NotInstalled, CalledProcessError."""
    compiler = shutil.which("go")
    if compiler is None:
        raise NotInstalled("no Go found; PEERS_GO=1 make peers installs it")
    binary = build / "churn-go"
    environment = os.environ | {"GOCACHE": str(build / "go-cache"), "GOFLAGS": "-mod=mod", "GOPROXY": "off"}
    subprocess.run([compiler, "build", "-o", str(binary), "."], cwd=HERE / "go", env=environment, check=True)
    return Peer("go", "Go", (str(binary),))


def native_binary() -> Path:
    """The native mutator, as cargo built it. Raises NotInstalled."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    binary = target / "release/churn"
    if not binary.exists():
        raise NotInstalled(f"{binary} is missing; build it with: cargo build --release -p subduct-bench")
    return binary


def native() -> list[Peer]:
    """The native mutator on a subduct heap, and on memory without a collector. Raises NotInstalled."""
    binary = str(native_binary())
    return [
        Peer("subduct", "subduct, native", (binary, "--heap", "subduct")),
        Peer("malloc", "no collector (Rust, malloc)", (binary, "--heap", "malloc")),
    ]


def python() -> list[Peer]:
    """The interpreter's own objects, and a subduct heap through its proxies."""
    return [
        Peer(
            "subduct-python", "subduct, through Python", (sys.executable, str(HERE / "subduct_python.py")), has_gil=True
        ),
        Peer("cpython", "CPython, gc on", (sys.executable, str(HERE / "cpython.py")), has_gil=True),
    ]
