"""Several heaps at once, of every delivery, used by the same threads and collecting at the same time."""

from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import replace
from itertools import cycle

from torture.setting import Setting, check, possible_deliveries
from torture.writer import churning, writers

HEAPS = 5
ANY = 2


def torment(setting: Setting) -> Generator[None]:
    with ExitStack() as stack:
        # All but some heaps have the delivery that is tormented.
        deliveries = [setting.delivery] * (HEAPS - ANY) + setting.rng.choices(possible_deliveries(), k=ANY)
        heaps = [stack.enter_context(replace(setting, delivery=each).heap("32MiB")) for each in deliveries]
        crews = [writers(setting, heap, 2) for heap in heaps]
        # The first writer of each crew has a thread of its own; one thread goes round with the second of each.
        turns = cycle([crew[1] for crew in crews])
        while True:
            with churning(setting, [crew[0] for crew in crews], lambda: next(turns).step()):
                for _ in range(2):
                    for heap in setting.rng.sample(heaps, HEAPS):
                        heap.collect()
            for heap, crew in zip(heaps, crews, strict=True):
                crew[1].check()
                check(heap)
            yield
