"""What cannot be right is refused before a call, in words: ValueError for numbers, TypeError for what is none."""

import errno
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.unprivileged import as_nobody
from subduct.kernel import PAGE_SIZE, Mapping, Memfd, Reservation, Userfaultfd, serve


class Things:
    """One of each, of types that are checked by nobody."""

    def __init__(self) -> None:
        self.mapping: Any = Mapping.anonymous(PAGE_SIZE)
        self.file: Any = Memfd(PAGE_SIZE)
        self.userfaultfd: Any = Userfaultfd()


@pytest.fixture
def things() -> Iterator[Things]:
    made = Things()
    with made.mapping, made.file, made.userfaultfd:
        yield made


MAPPING: Any = Mapping
MEMFD: Any = Memfd
RESERVATION: Any = Reservation
USERFAULTFD: Any = Userfaultfd
SERVE: Any = serve

NUMBERS: dict[str, tuple[Callable[[Things], object], str]] = {
    "hint": (lambda _: MAPPING.anonymous(PAGE_SIZE, hint=-PAGE_SIZE), "hint"),
    "hint of a move": (lambda the: the.mapping.move(hint=-PAGE_SIZE), "hint"),
    "hint of a reservation": (lambda _: RESERVATION(PAGE_SIZE, hint=-PAGE_SIZE), "hint"),
    "address": (lambda _: MAPPING.anonymous(PAGE_SIZE, address=0), "address 0"),
    "address of a reservation": (lambda _: RESERVATION(PAGE_SIZE, address=0), "address 0"),
    "length of a reservation": (lambda _: RESERVATION(-PAGE_SIZE), "length"),
    "flags": (lambda _: MAPPING.anonymous(PAGE_SIZE, flags=1 << 40), "flags must be made of SHARED"),
    "prot": (lambda _: MAPPING.anonymous(PAGE_SIZE, prot=1 << 20), "prot must be made of"),
    "prot of a file": (lambda the: the.file.map(prot=1 << 20), "prot must be made of"),
    "prot of a change": (lambda the: the.mapping.protect(1 << 20), "prot must be made of"),
    "offset of a read": (lambda the: the.mapping.read(-1, 10), "leave the mapping of 4096 bytes"),
    "length of a read": (lambda the: the.mapping.read(0, 1 << 70), "leave the mapping"),
    "offset of a write": (lambda the: the.mapping.write(-1, b"x"), "leave the mapping"),
    "length of a file": (lambda _: MEMFD(1 << 63), "a file's length"),
    "new length of a file": (lambda the: the.file.resize(1 << 63), "a file's length"),
    "flags of a file": (lambda _: MEMFD(PAGE_SIZE, flags=1 << 40), "flags must be made of CLOEXEC"),
    "seals": (lambda _: MEMFD(PAGE_SIZE, seals=1 << 20), "seals must be made of"),
    "more seals": (lambda the: the.file.seal(1 << 40), "seals must be made of"),
    "offset of a view": (lambda the: the.file.map(offset=2 * PAGE_SIZE), "leaves the 4096 bytes"),
    "offset of a file": (lambda the: MAPPING.file(the.file, PAGE_SIZE, offset=1 << 63), "less than 2**63"),
    "offset of a view with a length": (lambda the: the.file.map(PAGE_SIZE, offset=1 << 63), "less than 2**63"),
    "offset of a view to the end": (lambda the: the.file.map(offset=1 << 63), "leaves the 4096 bytes"),
    "descriptor": (lambda _: MAPPING.file(1 << 31, PAGE_SIZE), "less than 2**31"),
    "flags of a userfaultfd": (lambda _: USERFAULTFD(flags=1 << 40), "flags must be made of USER_MODE_ONLY"),
    "features": (lambda _: USERFAULTFD(-1), "features"),
    "mode": (lambda the: the.userfaultfd.register(the.mapping, mode=8), "mode must be made of MISSING"),
    "mode of a fill": (lambda the: the.userfaultfd.zeropage(the.mapping.address, PAGE_SIZE, 1 << 70), "mode must be"),
    "mode of a served range": (lambda the: SERVE(the.mapping, bytes, mode=8), "mode must be made of MISSING"),
}

TYPES: dict[str, tuple[Callable[[Things], object], str]] = {
    "a size as text": (lambda _: MAPPING.anonymous("4MiB"), "length must be a whole number, not str '4MiB'"),
    "a file's size as text": (lambda _: MEMFD("4MiB"), "length must be a whole number, not str '4MiB'"),
    "no file": (lambda _: MAPPING.file(None, PAGE_SIZE), "not NoneType"),
    "an address as text": (lambda the: the.userfaultfd.wake("there", PAGE_SIZE), "address must be a whole number"),
    "no reservation": (lambda the: the.mapping.move(within=5), "within must be a Reservation, not int"),
    "a word misspelt": (lambda the: the.mapping.move(keep_souce=True), "unexpected keyword argument 'keep_souce'"),
    "one that there is not": (lambda the: the.mapping.move(keep_source=True, into=3), "'into'"),
    "nothing to serve": (lambda _: SERVE(b"abc", bytes), "a Mapping, not of bytes"),
    "nobody to serve": (lambda the: SERVE(the.mapping, 5), "a function of a Fault, not int"),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_that_cannot_be(things: Things, name: str) -> None:
    ask, said = NUMBERS[name]
    with pytest.raises(ValueError) as caught:
        ask(things)
    assert said in str(caught.value)


@pytest.mark.parametrize("name", TYPES)
def test_what_is_something_else(things: Things, name: str) -> None:
    ask, said = TYPES[name]
    address = things.mapping.address
    with pytest.raises(TypeError) as caught:
        ask(things)
    assert said in str(caught.value)
    assert things.mapping.address == address


def test_a_closed_mapping_cannot_be_served_and_remembers_where_it_was() -> None:
    mapping = Mapping.anonymous(PAGE_SIZE)
    address = mapping.address
    mapping.close()
    with pytest.raises(ValueError, match="closed"):
        serve(mapping, lambda _fault: None)
    assert (mapping.address, mapping.length) == (address, PAGE_SIZE)


@pytest.mark.skipif(not Path("/dev/userfaultfd").exists(), reason="this kernel has no /dev/userfaultfd")
def test_the_device_is_refused_in_words() -> None:
    mode = Path("/dev/userfaultfd").stat().st_mode
    if mode & 0o006 == 0o006:
        pytest.skip("here everybody may open /dev/userfaultfd")
    done = as_nobody(
        """
        import json
        from subduct import KernelError
        from subduct.kernel import Userfaultfd
        """,
        """
        try:
            Userfaultfd(device=True)
        except KernelError as error:
            print(json.dumps([error.errno, error.call, dict(error.arguments), error.remedy, str(error)]))
        """,
    )
    assert done.stderr == ""
    number, call, arguments, remedy, text = json.loads(done.stdout)
    assert (number, call, arguments["path"]) == (errno.EACCES, "open", "/dev/userfaultfd")
    assert "mode" in remedy
    assert "device=True" in remedy
    assert remedy in text
