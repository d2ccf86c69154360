"""The process that a check has of its own."""

import errno
import os
import threading
from typing import Any, NoReturn

import pytest

from harness.process import open_descriptors, run_program
from subduct.selftest import child
from subduct.selftest.expect import SkippedError, skip


def test_a_result_that_nobody_reads_is_no_error() -> None:
    done = run_program(
        """
        import os
        from subduct.selftest import child

        reader, writer = os.pipe()
        os.close(reader)
        pid = os.fork()
        if pid == 0:
            child._be_child(dict, writer, os.getppid(), ())
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


def refuse(number: int) -> Any:
    """A call that is refused."""

    def call(*_arguments: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("name", ["fork", "pipe"])
@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EAGAIN, "ulimit -u, pids.max"),
        (errno.ENOMEM, "memory limit"),
        (errno.EMFILE, "ulimit -n, now "),
        (errno.EPERM, "a filter"),
    ],
)
def test_a_process_that_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, number: int, remedy: str) -> None:
    monkeypatch.setattr(os, name, refuse(number))
    before = set(open_descriptors())
    with pytest.raises(child.NoProcessError) as refused:
        child.run(dict, 60.0)
    assert (refused.value.errno, refused.value.strerror) == (number, os.strerror(number))
    assert remedy in refused.value.remedy
    assert set(open_descriptors()) == before


def test_a_check_that_needs_a_process_or_a_thread_is_skipped_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_thread: threading.Thread) -> NoReturn:
        raise RuntimeError("can't start new thread")

    for number in (errno.EAGAIN, errno.ENOMEM):
        monkeypatch.setattr(os, "fork", refuse(number))
        with pytest.raises(SkippedError, match="no other process can be started: "):
            child.fork()
    monkeypatch.setattr(os, "fork", refuse(errno.EPERM))
    with pytest.raises(PermissionError):
        child.fork()
    monkeypatch.setattr(threading.Thread, "start", no_thread)
    with pytest.raises(SkippedError, match=r"can't start new thread: .*ulimit -u"):
        child.start(threading.Thread())


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_what_keeps_the_child_of_a_check_from_looking_keeps_the_check() -> None:
    for action, reason in (
        (lambda: skip("no userfaultfd here"), "no userfaultfd here"),
        (refuse(errno.EMFILE), "ulimit -n"),
    ):
        with pytest.raises(SkippedError, match=reason):
            child.signal_of(action)
    with pytest.raises(RuntimeError, match="Permission denied"):
        child.signal_of(refuse(errno.EACCES))


def test_a_check_has_no_more_descriptors_than_a_program_of_its_own() -> None:
    done = run_program(
        """
        import os
        from subduct.selftest import child

        def count():
            lowest = os.open(os.devnull, os.O_RDONLY)
            print("what is printed goes nowhere", flush=True)
            return {"lowest": lowest}

        print(child.run(count, 60.0))
        """
    )
    assert (done.stdout, done.stderr) == ("{'lowest': 3}\n", "")


@pytest.mark.parametrize("closed", [(0,), (2,), (0, 2)])
def test_a_report_arrives_whatever_standard_stream_is_closed(closed: tuple[int, ...]) -> None:
    done = run_program(
        f"""
        import os
        from subduct.selftest import child
        for number in {closed}:
            os.close(number)
        print(child.run(lambda: {{"answer": 42}}, 60.0))
        """
    )
    assert done.stdout == "{'answer': 42}\n"
