"""The standard library's own tests, taken from the interpreter and run on proxies.

Such a test makes its subjects by `self.type2test(...)`, by the name of a builtin, or by a display such as `{}`. A stand-in for the
builtin makes a proxy instead; where names and displays are meant, the module's text is compiled anew with the stand-in in their place.
"""

import ast
import gc
import importlib.util
import sys
import types
import unittest
import warnings
from collections.abc import Callable, Iterator, MutableMapping, MutableSequence, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from subduct import Dict, Heap, List, Tuple


class StandIn(type):
    """The type of the stand-ins: calling one makes a proxy, and proxies are its instances."""

    heap: ClassVar[Heap]
    builtin: type
    proxy: type
    make: Callable[..., Any]

    def __call__(cls, *arguments: Any, **keywords: Any) -> Any:
        return cls.make(*arguments, **keywords)

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, cls.builtin | cls.proxy)

    def __subclasscheck__(cls, other: type) -> bool:
        return type.__subclasscheck__(cls, other) or issubclass(other, cls.builtin | cls.proxy)

    def __eq__(cls, other: object) -> bool:
        return other is cls.proxy or other is cls

    __hash__ = type.__hash__

    def __getattr__(cls, name: str) -> Any:
        return getattr(cls.proxy, name)


class StandInList(metaclass=StandIn):
    """Makes Lists."""

    builtin, proxy = list, List

    @staticmethod
    def make(*arguments: Any) -> List:
        if arguments and type(arguments[0]) is list:
            return StandIn.heap.list(arguments[0])
        made = StandIn.heap.list()
        made.__init__(*arguments)
        return made


class StandInTuple(metaclass=StandIn):
    """Makes Tuples."""

    builtin, proxy = tuple, Tuple

    @staticmethod
    def make(*arguments: Any) -> Tuple:
        return StandIn.heap.tuple(*arguments)


class StandInDict(metaclass=StandIn):
    """Makes Dicts."""

    builtin, proxy = dict, Dict

    @staticmethod
    def make(*arguments: Any, **keywords: Any) -> Dict:
        made = StandIn.heap.dict()
        made.__init__(*arguments, **keywords)
        return made

    @staticmethod
    def fromkeys(iterable: Any, value: Any = None) -> Dict:
        """As the builtin's class method: the stand-in knows the heap."""
        return StandIn.heap.dict().fromkeys(iterable, value)


MutableMapping.register(StandInDict)
MutableSequence.register(StandInList)
Sequence.register(StandInTuple)

STAND_INS: dict[str, StandIn] = {"dict": StandInDict, "list": StandInList, "tuple": StandInTuple}


class _Renamed(ast.NodeTransformer):
    """Has a builtin's name mean its stand-in in one class, and puts calls of the stand-in around the builtin's displays."""

    def __init__(self, case: str, builtin: str, displays: tuple[type[ast.expr], ...]) -> None:
        self.case, self.builtin, self.displays = case, builtin, displays
        self.is_inside = False

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        before, self.is_inside = self.is_inside, self.is_inside or node.name == self.case
        self.generic_visit(node)
        self.is_inside = before
        return node

    def visit(self, node: ast.AST) -> Any:
        node = super().visit(node)
        if not self.is_inside or not isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
            return node
        if isinstance(node, ast.Name) and node.id == self.builtin:
            return ast.copy_location(ast.Name(STAND_IN, ast.Load()), node)
        if isinstance(node, self.displays):
            return ast.copy_location(ast.Call(ast.Name(STAND_IN, ast.Load()), [node], []), node)
        return node


STAND_IN = "stand_in_for_the_builtin"
DISPLAYS: dict[str, tuple[type[ast.expr], ...]] = {"dict": (ast.Dict, ast.DictComp), "list": (ast.List, ast.ListComp)}


@dataclass(frozen=True)
class Suite:
    """A class of tests of the standard library, and the builtin that proxies stand in for."""

    module: str
    case: str
    builtin: str
    names: bool = False
    displays: bool = False

    def load(self) -> type[unittest.TestCase]:
        """The class; of a module made for it where names or displays of the builtin in it mean the stand-in."""
        case = getattr(self.on_stand_ins() if self.names else import_module(self.module), self.case)
        assert isinstance(case, type)
        return type(self.case, (case, unittest.TestCase), {"type2test": STAND_INS[self.builtin]})

    def on_stand_ins(self) -> types.ModuleType:
        """Compile the module's text anew."""
        spec = importlib.util.find_spec(self.module)
        assert spec is not None
        assert spec.origin is not None
        tree = ast.parse(importlib.util.decode_source(Path(spec.origin).read_bytes()))
        tree = _Renamed(self.case, self.builtin, DISPLAYS[self.builtin] if self.displays else ()).visit(tree)
        made = types.ModuleType(self.module)
        made.__dict__[STAND_IN] = STAND_INS[self.builtin]
        exec(compile(ast.fix_missing_locations(tree), spec.origin, "exec"), made.__dict__)
        return made


SUITES: dict[str, Suite] = {
    "test_list": Suite("test.test_list", "ListTest", "list", names=True, displays=True),
    "test_userlist": Suite("test.test_userlist", "UserListTest", "list"),
    "test_tuple": Suite("test.test_tuple", "TupleTest", "tuple"),
    "test_userdict": Suite("test.test_userdict", "UserDictTest", "dict"),
    "test_dict": Suite("test.test_dict", "DictTest", "dict", names=True, displays=True),
    "test_dictviews": Suite("test.test_dictviews", "DictSetTest", "dict", names=True, displays=True),
    "test_sort": Suite("test.test_sort", "TestDecorateSortUndecorate", "list", names=True, displays=True),
    "abc of dict": Suite("test.test_collections", "TestCollectionABCs", "dict", names=True),
    "abc of list": Suite("test.test_collections", "TestCollectionABCs", "list", names=True),
    "abc of tuple": Suite("test.test_collections", "TestCollectionABCs", "tuple", names=True),
}


def missing_modules() -> list[str]:
    """Modules of tests that this interpreter lacks: some distributions split its `test` package off."""
    return [name for name in sorted({suite.module for suite in SUITES.values()}) if not is_there(name)]


def is_there(module: str) -> bool:
    """Whether a module can be imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def summary() -> str:
    """Return a line for the end of a test run: what was run, or what there was not to run."""
    missing = missing_modules()
    if missing:
        return f"standard library's tests of containers: NOT RUN, this Python has no {', '.join(missing)}"
    return f"standard library's tests of containers: {sum(PASSED.values())} passed on proxies, in {len(PASSED)} runs of suites"


# How many tests passed in each run of a suite.
PASSED: dict[str, int] = {}


@dataclass(frozen=True)
class Outcome:
    """How a suite went."""

    run: set[str]
    skipped: set[str]
    failed: dict[str, str]
    """The last line of what each test that did not pass said."""


def run(suite: Suite, heap: Heap) -> Outcome:
    """Run a suite on proxies in a heap."""
    StandIn.heap = heap
    result = unittest.TestResult()
    with warnings.catch_warnings(), undisturbed():
        warnings.simplefilter("ignore")
        tests = unittest.defaultTestLoader.loadTestsFromTestCase(suite.load())
        names = {name_of(test) for test in tests}
        tests.run(result)
    failed = {name_of(test): text.strip().rpartition("\n")[2] for test, text in result.failures + result.errors}
    return Outcome(names, {name_of(test) for test, _ in result.skipped}, failed)


def name_of(test: Any) -> str:
    """The name of a test's function."""
    name: str = test.id().rpartition(".")[2]
    return name


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep a suite and the run around it apart.

    Objects whose `__del__` fails say nothing: tests make some that rely on a dict that was to hold them. And tests that collect Python's
    garbage hundreds of times do not look at what was there before.
    """
    before, sys.unraisablehook = sys.unraisablehook, lambda _: None
    gc.freeze()
    try:
        yield
        gc.collect()
    finally:
        gc.unfreeze()
        sys.unraisablehook = before
