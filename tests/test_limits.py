"""A budget that the machine, or the control group, cannot hold is warned of when the heap is made."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from subduct import Heap, _limits

MIB = 1 << 20
MEMORY = "MemTotal:        2097152 kB\nMemFree:          100000 kB\n"


def tree(root: Path, *, group: str = "", memory: str = MEMORY, **limits: str) -> Path:
    """A root folder with a meminfo, the lines of this process's groups, and files of limits; in their names "__" stands for a slash and
    "_dot_" for a dot."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(memory)
    (root / "proc/self/cgroup").write_text(group)
    for name, text in limits.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def second(root: Path) -> Path:
    """A root whose process is in a group of the second version that may have 100 MiB, inside one that may have more."""
    limits = {"pod__memory_dot_max": f"{200 * MIB}\n", "pod__one__memory_dot_max": f"{100 * MIB}\n"}
    return tree(root, group="0::/pod/one\n", memory_dot_max="max\n", **limits)


def test_the_lowest_group_of_the_second_version_counts(tmp_path: Path) -> None:
    root = second(tmp_path)
    assert _limits.exceeded(100 * MIB, root) is None
    said = _limits.exceeded(100 * MIB + 1, root)
    assert said is not None
    assert said.startswith("a budget of 100 MiB is more than the 100 MiB that its control group (pod/one) allows")
    assert "make the budget smaller" in said
    assert "MemoryMax=" in said


def test_a_group_above_may_be_the_lowest(tmp_path: Path) -> None:
    root = tree(tmp_path, group="0::/pod/one\n", pod__memory_dot_max=f"{50 * MIB}\n", pod__one__memory_dot_max="max\n")
    assert "(pod) allows" in str(_limits.exceeded(64 * MIB, root))


def test_the_first_version_is_read_too(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        group="5:cpu:/\n4:memory:/docker/0123\n",
        memory__memory_dot_limit_in_bytes="9223372036854771712\n",
        memory__docker__0123__memory_dot_limit_in_bytes=f"{70 * MIB}\n",
    )
    assert "70 MiB that its control group (docker/0123)" in str(_limits.exceeded(71 * MIB, root))
    assert _limits.exceeded(70 * MIB, root) is None


def test_the_machine_counts_where_no_group_is_lower(tmp_path: Path) -> None:
    root = tree(tmp_path, group="0::/\n")
    assert _limits.exceeded(2048 * MIB, root) is None
    said = str(_limits.exceeded(4096 * MIB, root))
    assert "a budget of 4,096 MiB is more than the 2,048 MiB of memory that this machine has" in said
    assert "a machine with more memory" in said


@pytest.mark.parametrize("memory", ["", "MemTotal: unknown\n", "MemTotal:\n"])
def test_what_cannot_be_read_is_no_limit(tmp_path: Path, memory: str) -> None:
    assert _limits.exceeded(1 << 62, tree(tmp_path, memory=memory, group="nonsense\n0::\n")) is None
    assert _limits.exceeded(1 << 62, tmp_path / "nothing") is None


def test_the_warning_names_the_line_that_makes_the_heap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_limits, "ROOT", second(tmp_path))
    with pytest.warns(RuntimeWarning, match=r"128 MiB is more than the 100 MiB that its control group") as caught:
        heap = Heap("128MiB")
    with heap:
        heap.root["works"] = True
    (warning,) = caught
    assert warning.filename == __file__


def test_a_warning_that_is_an_error_leaves_no_heap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_limits, "ROOT", second(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning) as caught:
            Heap("128MiB")
    frame = caught.tb
    while frame.tb_next is not None:
        frame = frame.tb_next
    assert frame.tb_frame.f_locals["self"].closed


def test_ordinary_heaps_do_not_warn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_limits, "ROOT", second(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for budget in ("8MiB", "64MiB", "65MiB", "100MiB"):
            Heap(budget).close()
    monkeypatch.setattr(_limits, "control_groups", lambda _root: pytest.fail("small budgets are not looked up"))
    Heap("64MiB").close()


def test_a_command_says_it_in_one_line(tmp_path: Path) -> None:
    second(tmp_path / "root")
    program = f"""
import sys
from pathlib import Path
from subduct import _limits
from subduct.cli import main
_limits.ROOT = Path({str(tmp_path / "root")!r})
sys.exit(main(["run", {str(tmp_path / "data.json")!r}, "--budget", "128MiB", "--seconds", "0.1"]))
"""
    (tmp_path / "data.json").write_text('{"a": [1, 2, 3]}')
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr.startswith("subduct: warning: a budget of 128 MiB is more than")
    assert len(done.stderr.splitlines()) == 1
