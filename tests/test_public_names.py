"""The public names are chosen, and each has one home."""

import importlib
import importlib.metadata
import inspect
import pkgutil
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

import subduct
from harness.process import run_program

NAMES = {
    "CycleReport",
    "Dict",
    "Fallbacks",
    "Heap",
    "HeapClosed",
    "HeapFull",
    "KernelError",
    "List",
    "Pauses",
    "Stats",
    "Tuple",
    "Unsupported",
    "VerifyReport",
    "__version__",
}


def public_modules() -> list[ModuleType]:
    """The package and every module in it that has no underscore in its path."""
    found = [subduct]
    for module in pkgutil.walk_packages(subduct.__path__, "subduct."):
        if not any(part.startswith("_") for part in module.name.split(".")):
            found.append(importlib.import_module(module.name))
    return found


def test_all_is_what_was_promised() -> None:
    assert sorted(subduct.__all__) == sorted(NAMES)
    assert len(subduct.__all__) == len(NAMES)


def test_nothing_else_is_public() -> None:
    seen = {name: getattr(subduct, name) for name in dir(subduct)}
    public = {name for name, value in seen.items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert public == NAMES - {"__version__"}
    assert not hasattr(subduct, "heap")


def test_names_are_there_from_the_first_moment() -> None:
    done = run_program(
        """
        import pickle, sys
        import subduct
        # What is imported later, a child that is forked meanwhile could never import.
        assert {"subduct._heap", "subduct._native", "subduct._stats", "subduct._views"} <= set(sys.modules)
        assert set(subduct.__all__) <= set(dir(subduct))
        from subduct import List, Pauses
        from collections.abc import MutableSequence
        assert issubclass(List, MutableSequence)
        assert pickle.loads(pickle.dumps(Pauses(1.0, 2.0, 3.0, 4))) == Pauses(1.0, 2.0, 3.0, 4)
        from subduct import *
        with Heap("8MiB") as heap:
            assert type(heap.stats()) is Stats and Stats.__module__ == "subduct"
            assert isinstance(heap.root, Dict)
        print(__version__)
        """
    )
    assert (done.stdout, done.stderr) == (f"{subduct.__version__}\n", "")


def test_each_public_name_is_exported_once() -> None:
    exported = Counter(
        id(value)
        for module in public_modules()
        for name in getattr(module, "__all__", [])
        if inspect.isclass(value := getattr(module, name)) or inspect.isfunction(value)
    )
    assert exported
    assert [number for number in exported.values() if number > 1] == []


@pytest.mark.parametrize("name", sorted(NAMES - {"__version__"}))
def test_each_public_name_says_where_it_belongs_and_what_it_is(name: str) -> None:
    value = getattr(subduct, name)
    assert inspect.isclass(value)
    assert value.__name__ == name
    assert value.__module__ == "subduct"
    assert value.__doc__


@pytest.mark.parametrize(
    ("name", "base"),
    [("KernelError", OSError), ("Unsupported", RuntimeError), ("HeapFull", MemoryError), ("HeapClosed", RuntimeError)],
)
def test_errors_can_be_caught_as_python_would(name: str, base: type[Exception]) -> None:
    assert issubclass(getattr(subduct, name), base)


def test_the_package_that_is_tested_is_the_installed_one() -> None:
    home = Path(subduct.__file__).parent
    assert "site-packages" in home.parts
    assert (home / "py.typed").exists()
    assert (home / "_native.pyi").exists()


def test_the_version_is_that_of_the_distribution() -> None:
    assert subduct.__version__ == importlib.metadata.version("subduct")
