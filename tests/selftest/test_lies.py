"""A self-test that cannot fail proves nothing: here the kernel lies, and the self-test must say so."""

import textwrap

import pytest

from harness.process import run_program

PROGRAM = """
import errno, os, sys
from subduct.cli import main
from subduct.kernel import calls
from subduct.selftest import faults
truth = dict(vars(calls))
{lie}
sys.exit(main(["selftest", "--only", "{test}"]))
"""

# A test, what the kernel does instead of the truth, and a word of the diagnosis.
LIES = {
    "another errno": (
        "mremap.einval.unknown-flag",
        """
        def lie(*arguments):
            raise OSError(errno.ENOMEM, "a lie")
        calls.mremap = lie
        """,
        'errno: "ENOMEM"',
    ),
    "success instead of a refusal": (
        "mremap.dontunmap.refused.perf-ring",
        "calls.mremap = lambda address, *rest: address",
        "success",
    ),
    "the old range is unmapped": (
        "mremap.dontunmap.memfd-shared.simple",
        """
        def lie(old, old_length, new_length, flags, new=0):
            moved = truth["mremap"](old, old_length, new_length, flags, new)
            calls.munmap(old, old_length)
            return moved
        calls.mremap = lie
        """,
        "killed by SIGSEGV",
    ),
    "the old range is emptied": (
        "mremap.dontunmap.memfd-shared.fixed",
        """
        def lie(old, old_length, new_length, flags, new=0):
            moved = truth["mremap"](old, old_length, new_length, flags, new)
            calls.mmap(old, old_length, 3, 0x31)
            return moved
        calls.mmap = lambda *arguments: truth["mmap"](*arguments)
        calls.mremap = lie
        """,
        "the file behind the two|the old range",
    ),
    "the old range of private memory keeps its content": (
        "mremap.dontunmap.anon-private.contents",
        """
        def lie(old, old_length, new_length, flags, new=0):
            content = truth["load"](old, old_length)
            moved = truth["mremap"](old, old_length, new_length, flags, new)
            truth["store"](old, content)
            return moved
        calls.mremap = lie
        """,
        "the old range after a write",
    ),
    "a hint is not honoured": (
        "mremap.dontunmap.anon-private.hint",
        """
        def lie(old, old_length, new_length, flags, new=0):
            return truth["mremap"](old, old_length, new_length, flags)
        calls.mremap = lie
        """,
        "a hint that is free",
    ),
    "the registration is kept": (
        "uffd.unregister.ends-faults",
        "calls.uffd_unregister = lambda *arguments: None",
        "killed by SIGBUS",
    ),
    "the registration is not made": (
        "uffd.register.mapped-pages",
        "calls.uffd_register = lambda *arguments: 0",
        "success",
    ),
    "a page that is there counts as done": (
        "uffd.continue.partial",
        """
        def lie(fd, address, length, mode=0):
            truth["uffd_continue"](fd, address, length, mode)
            return length
        calls.uffd_continue = lie
        """,
        "bytes done",
    ),
    "a page that is there is no error": (
        "uffd.continue.eexist",
        """
        def lie(fd, address, length, mode=0):
            try:
                return truth["uffd_continue"](fd, address, length, mode)
            except OSError:
                return length
        calls.uffd_continue = lie
        """,
        "EEXIST",
    ),
    "nobody is woken": (
        "uffd.unregister-then-wake-minor",
        "calls.uffd_wake = lambda *arguments: None",
        "a thread that waited",
    ),
    "no event comes": (
        "uffd.minor.event",
        "calls.uffd_register = lambda *arguments: 0",
        "none within",
    ),
    "an event about a write says nothing of it": (
        "uffd.missing.write-flag",
        """
        def lie(fd):
            data = bytearray(truth["uffd_read"](fd))
            data[8:9] = bytes(1)
            return bytes(data)
        calls.uffd_read = lie
        """,
        "the flags",
    ),
    "seals do not hold": (
        "memfd.seal.size",
        "calls.add_seals = lambda *arguments: None",
        "success",
    ),
    "a punched page is still there": (
        "memfd.punch",
        """
        def lie(fd, mode, offset, length):
            if not mode:
                truth["fallocate"](fd, mode, offset, length)
        calls.fallocate = lie
        """,
        "the pages",
    ),
    "a child has what it should not": (
        "madvise.dontfork",
        "calls.madvise = lambda *arguments: None",
        "what touching it in the child does",
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_found_out(name: str) -> None:
    test, lie, word = LIES[name]
    # Who waits for ever because of a lie is found out soon.
    impatient = "faults._PATIENCE_S = 0.5\n"
    ran = run_program(PROGRAM.format(lie=impatient + textwrap.dedent(lie), test=test))
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert f"not ok 1 - {test}\n" in ran.stdout
    assert "# 1 test: 0 passed, 1 failed" in ran.stdout
    assert any(each in ran.stdout for each in word.split("|")), ran.stdout


@pytest.mark.parametrize("test", sorted({test for test, _, _ in LIES.values()}))
def test_the_truth_is_accepted(test: str) -> None:
    ran = run_program(PROGRAM.format(lie="", test=test))
    assert ran.returncode in {0, 4}, ran.stdout + ran.stderr
    assert f"ok 1 - {test}" in ran.stdout
