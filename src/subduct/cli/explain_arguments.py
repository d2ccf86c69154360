"""What `subduct explain` understands."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, TypeVar

from subduct._heap import parse_size
from subduct.cli.explain import Kernel, explain_flip, explain_mremap
from subduct.explain.costs import NAMES, parse_costs
from subduct.explain.kinds import KINDS
from subduct.model import NEWEST, OLDEST, RemapFlag, Version

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")

_HELP = """\
Answer without doing: whether a kernel version would move a mapping and why
not, by which page-table steps, and what that or a heap's flip would cost, also
at sizes that this machine does not have.
"""

_MREMAP_HELP = """\
Would the kernel do this mremap? Names the first check that refuses, with the
reason and the versions that have it; or says by which page-table steps it
moves, and estimates the time. Nothing is mapped but for measuring the costs.
"""

_MREMAP_EPILOG = """\
kinds of mapping:
  memfd-shared, memfd-private, anonymous-private, anonymous-shared
  perf-ring  a mapping of VM_DONTEXPAND
  device     a mapping of VM_PFNMAP

examples:
  subduct explain mremap --mapping memfd-shared --flags MAYMOVE,DONTUNMAP \\
      --size 4GiB --align 1GiB
  subduct explain mremap --mapping memfd-shared --flags MAYMOVE,DONTUNMAP \\
      --size 4GiB --kernel 5.10

Costs are measured by moving again and again, with warm caches: a single move
may take longer. Behind each is the range in which it was found.

exit codes:
  0    the kernel does it
  1    the kernel refuses
  2    wrong usage, or the output cannot be written
"""

_FLIP_HELP = """\
What would a flip of a heap with this budget cost? Counts the page-table steps
of moving its slots window, and estimates the time from what a step costs,
measured by moving again and again: a single flip, with cold caches, may take
longer.
"""

_FLIP_EPILOG = """\
example:
  subduct explain flip --heap 16TiB --costs call=12,pud=0.2,register=6.5

exit codes:
  0    the kernel does it
  1    the kernel refuses
  2    wrong usage, or the output cannot be written
"""


def add_explain(commands: Any, add: Callable[[Any, str, str, str, str], argparse.ArgumentParser]) -> None:
    """Adds the command and its two questions; `add` makes a command with its summary, description and epilog."""
    command = add(commands, "explain", "would the kernel move it, how, and what would it cost", _HELP, "")
    questions = command.add_subparsers(title="questions", metavar="QUESTION", required=True)
    mremap = add(questions, "mremap", "would the kernel do this mremap", _MREMAP_HELP, _MREMAP_EPILOG)
    mremap.set_defaults(command=explain_mremap)
    _add_mremap_options(mremap)
    flip = add(questions, "flip", "what would a flip of a heap cost", _FLIP_HELP, _FLIP_EPILOG)
    flip.set_defaults(command=explain_flip)
    flip.add_argument(
        "--heap", required=True, type=_converted(_size), metavar="SIZE", help="the heap's budget, such as 16TiB"
    )
    for question in (mremap, flip):
        question.add_argument(
            "--kernel",
            type=_converted(_kernel),
            default=None,
            metavar="VERSION",
            help="whose rules hold, such as 5.10 (default: those of the kernel that runs)",
        )
        question.add_argument(
            "--costs",
            type=_converted(parse_costs),
            metavar="NAME=US,...",
            help=f"microseconds of a step: {', '.join(NAMES)} (default: measured on this machine)",
        )
        question.add_argument("--json", action="store_true", help="print the answer as one JSON object")


def _add_mremap_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--mapping", required=True, choices=sorted(KINDS), metavar="KIND", help="see below")
    command.add_argument(
        "--flags",
        type=_converted(_flags),
        default=RemapFlag(0),
        metavar="FLAG,...",
        help="MAYMOVE, FIXED, DONTUNMAP (default: none)",
    )
    command.add_argument("--size", required=True, type=_converted(_size), help="the old size, such as 4GiB")
    command.add_argument(
        "--new-size", type=_converted(_size), metavar="SIZE", help="the new size (default: the old one)"
    )
    command.add_argument(
        "--align",
        type=_converted(_alignment),
        default=4096,
        metavar="SIZE",
        help="what old and new address are multiples of (default: 4KiB)",
    )
    command.add_argument("--registered", action="store_true", help="registered with userfaultfd, without EVENT_REMAP")
    command.add_argument("--locked", action="store_true", help="locked with mlock")
    command.add_argument("--sealed", action="store_true", help="sealed with mseal")


def _converted(convert: Callable[[str], _T]) -> Callable[[str], _T]:
    """The conversion, with its ValueError as argparse wants it."""

    def checked(text: str) -> _T:
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return checked


def _size(text: str) -> int:
    return parse_size(text, "a size")


def _alignment(text: str) -> int:
    align = _size(text)
    if align < 4096 or align & (align - 1):
        raise ValueError(f"an alignment is a power of two from 4KiB, not {text!r}")
    return align


def _kernel(text: str) -> Kernel:
    version = Version.parse(text)
    if version < OLDEST:
        raise ValueError(f"MREMAP_DONTUNMAP came with Linux {OLDEST}; nothing older is modelled")
    if version > NEWEST:
        raise ValueError(f"the newest kernel that the model was compared with is {NEWEST}, not {version}")
    return Kernel(text, version)


def _flags(text: str) -> RemapFlag:
    flags = RemapFlag(0)
    for name in filter(None, text.upper().replace("|", ",").split(",")):
        name = name.strip().removeprefix("MREMAP_")
        if name not in RemapFlag.__members__:
            raise ValueError(f"the flags of mremap are {', '.join(RemapFlag.__members__)}, not {name!r}")
        flags |= RemapFlag[name]
    return flags
