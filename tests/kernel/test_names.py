"""The public names of subduct.kernel: chosen, documented, numbers as the headers have them."""

import inspect
import mmap
import os
import types

import pytest

from subduct import kernel
from subduct.kernel import Advice, MapFlag, MemfdFlag, Prot, UffdFlag, calls

NAMES = {
    "PAGE_SIZE",
    "Advice",
    "ContinueMode",
    "CopyMode",
    "Event",
    "EventKind",
    "Failure",
    "FallocFlag",
    "Fault",
    "FaultFlag",
    "Feature",
    "Fork",
    "Handler",
    "Ioctl",
    "MapFlag",
    "Mapping",
    "MapsEntry",
    "Memfd",
    "MemfdFlag",
    "MoveMode",
    "Page",
    "PageFault",
    "Place",
    "PoisonMode",
    "Prot",
    "RegisterMode",
    "Remap",
    "RemapFlag",
    "Remove",
    "Reservation",
    "Seal",
    "ServeError",
    "Server",
    "SmapsEntry",
    "StartMethod",
    "UffdFlag",
    "Unmap",
    "Userfaultfd",
    "WriteprotectMode",
    "ZeropageMode",
    "calls",
    "maps",
    "pagemap",
    "serve",
    "smaps",
}


def test_all_is_what_was_promised() -> None:
    assert len(kernel.__all__) == len(NAMES)
    assert set(kernel.__all__) == NAMES


def test_nothing_else_is_public() -> None:
    public = {name for name in vars(kernel) if not name.startswith("_")}
    assert public == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_class_and_function_says_where_it_belongs_and_what_it_is(name: str) -> None:
    value = getattr(kernel, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__module__ == "subduct.kernel"
        assert value.__name__ == name
        assert value.__doc__
        for member_name, member in vars(value).items():
            if not member_name.startswith("_") and isinstance(member, types.FunctionType | property | classmethod):
                assert member.__doc__, member_name
    else:
        assert value is not None


def test_each_call_is_documented() -> None:
    assert len(calls.__all__) == len(set(calls.__all__)) > 30
    for name in calls.__all__:
        assert getattr(calls, name).__doc__, name


def test_numbers_are_those_of_this_machines_headers() -> None:
    assert kernel.PAGE_SIZE == os.sysconf("SC_PAGESIZE") == mmap.PAGESIZE
    for prefix, enum in (("PROT_", Prot), ("MAP_", MapFlag), ("MADV_", Advice)):
        known = {name: member for name, member in enum.__members__.items() if hasattr(mmap, prefix + name)}
        assert len(known) >= 3
        for name, member in known.items():
            assert member == getattr(mmap, prefix + name), name
    assert [MemfdFlag.CLOEXEC, MemfdFlag.ALLOW_SEALING] == [os.MFD_CLOEXEC, os.MFD_ALLOW_SEALING]
    assert MemfdFlag.HUGE_1GB == os.MFD_HUGE_1GB
    assert [UffdFlag.NONBLOCK, UffdFlag.CLOEXEC] == [os.O_NONBLOCK, os.O_CLOEXEC]
