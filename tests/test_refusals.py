"""What a heap says where the kernel refuses: the call, what the kernel said, and the remedy for that and no other."""

import errno
import platform
import sys

import pytest

from harness.kernel import has_userfaultfd
from harness.process import run_program
from harness.unprivileged import as_nobody

HERE = f"import sys; sys.path[:0] = {[path for path in sys.path if path]!r}"

SAY = f"""
{HERE}
import os, resource
from harness.seccomp import forbid
import subduct
from subduct import Heap, KernelError

def say(make):
    try:
        make()
    except (KernelError, MemoryError, subduct.Unsupported) as error:
        print(type(error).__name__, getattr(error, "errno", 0), error)
    else:
        print("nothing was refused")

def mapped_bytes():
    return int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()

def limit(what, most):
    resource.setrlimit(what, (most, resource.getrlimit(what)[1]))

def limit_descriptors(more):
    # So many more than there are.
    free = os.open("/dev/null", os.O_RDONLY)
    os.close(free)
    limit(resource.RLIMIT_NOFILE, free + more)
"""

NUMBERS = {
    "x86_64": {"clone": 56, "clone3": 435, "ioctl": 16, "mmap": 9, "mprotect": 10},
    "aarch64": {"clone": 220, "clone3": 435, "ioctl": 29, "mmap": 222, "mprotect": 226},
}
SMALLEST, LARGE = "8MiB", "64GiB"
needs_userfaultfd = pytest.mark.skipif(not has_userfaultfd(), reason="no userfaultfd for this user here")


def number(call: str) -> int:
    return NUMBERS[platform.machine()][call]


def said(program: str, *arguments: str) -> tuple[str, int, str]:
    """The exception's name, its errno, and what it says."""
    done = run_program(f"{SAY}\n{program}", *arguments)
    assert done.returncode == 0, done.stderr
    kind, code, text = done.stdout.rstrip().split(" ", 2)
    return kind, int(code), text


def test_a_filter_that_forbids_threads_is_no_limit_on_threads() -> None:
    program = f'forbid({number("clone")})(); forbid({number("clone3")})(); say(lambda: Heap("8MiB"))'
    kind, _, text = said(program)
    assert kind == "Unsupported"
    assert text.startswith("the collector's thread cannot start: Operation not permitted")
    assert "seccomp" in text
    assert "allow clone3, clone" in text
    assert "ulimit" not in text


def test_a_limit_on_threads_is_no_filter() -> None:
    code = """
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    try:
        Heap("8MiB")
    except Unsupported as error:
        print(error)
    """
    done = as_nobody("import resource; from subduct import Heap, Unsupported", code)
    assert done.returncode == 0, done.stderr
    assert "cannot start: Resource temporarily unavailable" in done.stdout
    assert "ulimit -u" in done.stdout
    assert "seccomp" not in done.stdout


@needs_userfaultfd
def test_a_filter_that_forbids_ioctl_is_no_old_kernel() -> None:
    kind, _, text = said(f'forbid({number("ioctl")})(); say(lambda: Heap("8MiB", delivery="sigbus"))')
    assert kind == "Unsupported"
    assert "ioctl(UFFDIO_API) failed: Operation not permitted" in text
    assert "seccomp" in text
    assert "Linux 5" not in text


@needs_userfaultfd
@pytest.mark.parametrize(
    ("more", "call"),
    [
        (0, "memfd_create"),
        (1, "memfd_create"),
        (2, "userfaultfd(UFFD_USER_MODE_ONLY)"),
        (3, "fcntl(F_DUPFD_CLOEXEC)"),
    ],
)
def test_descriptors_that_are_used_up(more: int, call: str) -> None:
    _, _, text = said(f'limit_descriptors({more}); say(lambda: Heap("8MiB", delivery="sigbus"))')
    assert f"{call} failed: Too many open files" in text
    assert "ulimit -n" in text
    assert "seccomp" not in text


@pytest.mark.parametrize("call", ["mmap", "mprotect"])
def test_a_filter_that_forbids_the_memory_of_a_verification_is_no_lack_of_memory(call: str) -> None:
    kind, code, text = said(f'heap = Heap("8MiB"); forbid({number(call)})(); say(heap.verify)')
    assert (kind, code) == ("KernelError", errno.EPERM)
    assert f"{call}" in text
    assert "seccomp" in text
    assert "ulimit" not in text


def test_a_verification_without_memory_names_the_limits() -> None:
    program = 'heap = Heap("8GiB"); limit(resource.RLIMIT_AS, mapped_bytes() + (1 << 20)); say(heap.verify)'
    kind, _, text = said(program)
    assert kind == "MemoryError"
    assert "ulimit -v, ulimit -d, vm.max_map_count, cgroup" in text


@pytest.mark.parametrize(
    ("limit", "call", "remedy"),
    [
        ("limit(resource.RLIMIT_DATA, 30 << 20)", "mprotect failed: Cannot allocate memory", "data (ulimit -d)"),
        ("limit(resource.RLIMIT_FSIZE, 1 << 20)", "ftruncate(memfd) failed: File too large", "ulimit -f"),
        (
            "limit(resource.RLIMIT_AS, mapped_bytes() + (64 << 20))",
            "mmap(PROT_NONE) failed: Cannot allocate memory",
            "address space (ulimit -v)",
        ),
    ],
    ids=["data", "file size", "address space"],
)
@pytest.mark.parametrize("budget", [SMALLEST, LARGE])
def test_limits_are_named_and_a_smaller_budget_where_there_is_one(
    budget: str, limit: str, call: str, remedy: str
) -> None:
    kind, _, text = said(f"{limit}; say(lambda: Heap({budget!r}))")
    assert kind == "KernelError"
    assert call in text
    assert remedy in text
    assert ("use a smaller budget" in text) == (budget == LARGE)


def test_limits_that_fall_right_after_a_heap_was_made_find_its_threads_running() -> None:
    # The C library allocates the thread-local memory of a module when a thread first needs it, and ends the process where it cannot.
    program = f"""
    {HERE}
    import os
    from harness.seccomp import forbid
    from subduct import Heap
    install = forbid({number("mmap")})
    for delivery in ("thread", None) if {has_userfaultfd()} else (None,):
        for _ in range(20):
            child = os.fork()
            if child == 0:
                heap = Heap("8MiB", delivery=delivery)
                install()
                heap.collect()
                heap.close()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
    print("done")
    """
    done = run_program(program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
