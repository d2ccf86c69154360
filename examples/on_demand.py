"""An array of two million squares, of which nothing exists until somebody looks.

The array is plain memory. When a page of it is touched for the first time, the kernel puts the thread to sleep, and a Python function
in another process fills the page. Needs Linux 5.11 and no privilege.

    python examples/on_demand.py
"""

from __future__ import annotations

import os
from array import array

from subduct.kernel import PAGE_SIZE, Fault, Mapping, serve

COUNT = 2_000_000
ITEM = array("q").itemsize


def squares(fault: Fault) -> array[int]:
    """The numbers of one page."""
    first = fault.offset // ITEM
    return array("q", (number * number for number in range(first, first + PAGE_SIZE // ITEM)))


def main() -> None:
    """Looks at some of the array, and says how much of it had to exist for that."""
    length = -(-COUNT * ITEM // PAGE_SIZE) * PAGE_SIZE
    with Mapping.anonymous(length) as memory, serve(memory, squares) as server:
        with memoryview(memory).cast("q") as numbers:
            print(f"process {os.getpid()} reads, process {server.process.pid} fills")
            for index in (0, 12, 1_234_567, COUNT - 1):
                print(f"numbers[{index:,}] = {numbers[index]:,}")
            print(f"sum(numbers[1000:3000]) = {sum(numbers[1000:3000]):,}")
        pages = memory.pages()
    filled = sum(page.present for page in pages)
    print(f"{filled} of {len(pages):,} pages were filled")


if __name__ == "__main__":
    main()
