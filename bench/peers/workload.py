"""The workload of README.md in Python: over lists and dicts of the interpreter, or over those of a heap."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import MutableSequence

#: Payload bytes that stay alive for each record that was asked for.
PAYLOAD_MEAN = 240
#: Shortest payload in bytes, without drift; how far the drift lengthens payloads.
PAYLOAD_MIN = 128
DRIFT_MAX = 96
#: Starting points of payloads in the text, and the longest payload, rounded up.
TEXT_STARTS = 1 << 16
TEXT_EXTRA = 1 << 10

MASK = (1 << 64) - 1
MULTIPLIER = 6364136223846793005
INCREMENT = 1442695040888963407
DIGEST_BASIS = 0xCBF29CE484222325
DIGEST_PRIME = 0x100000001B3


@dataclass
class Counts:
    """What shards did: look-ups that found something and that did not, new records, new payloads in records that were there, records
    that made room; the sum of what look-ups returned; records alive and the bytes of their payloads."""

    hits: int = 0
    misses: int = 0
    inserts: int = 0
    replacements: int = 0
    evictions: int = 0
    checksum: int = 0
    live_records: int = 0
    live_payload_bytes: int = 0

    def add(self, other: Counts) -> None:
        """Add another shard's."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def text(seed: int) -> str:
    """The text that payloads are cut from: lower-case letters. O(1)."""
    letters = bytearray()
    state = seed
    for _ in range(TEXT_STARTS + TEXT_EXTRA):
        state = (state * MULTIPLIER + INCREMENT) & MASK
        bits = state ^ (state >> 33)
        letters.append(97 + ((((bits >> 32) & 0xFFFF) * 26) >> 16))
    return letters.decode("ascii")


class Shard:
    """A thread's share of the records: which operation comes next, and which record has been unused for longest.

    `table` has None at each of `2 * records` keys; records are stored in it as dicts of five fields, of which one is a list.
    """

    def __init__(self, table: MutableSequence[Any], letters: str, seed: int, number: int, records: int) -> None:
        self._table = table
        self._text = letters
        self._state = (seed * 0x9E3779B97F4A7C15 + number * 0xD1B54A32D192ED03) & MASK
        self._first_id = number * 2 * records
        self._records = records
        self._keys = 2 * records
        self._bytes_max = PAYLOAD_MEAN * records
        self._now = 0
        self._oldest = 0
        length = 1 << (4 * records - 1).bit_length()
        self._mask = length - 1
        #: The key used at each time, or -1: a ring.
        self._history = array("i", [-1]) * length
        self.counts = Counts()

    def _next(self) -> int:
        self._state = state = (self._state * MULTIPLIER + INCREMENT) & MASK
        return state ^ (state >> 33)

    def fill(self) -> None:
        """Store the next of the records that are there at the start. O(1)."""
        bits = self._next()
        self._put(2 * self._now + (bits & 1), bits)
        self._now += 1

    def step(self) -> None:
        """Do the next operation. O(1) amortised."""
        bits = self._next()
        key = ((bits >> 32) * self._keys) >> 32
        if bits & 3:
            self._put(key, bits)
        else:
            self._get(key)
        self._now += 1

    def _get(self, key: int) -> None:
        now, counts = self._now, self.counts
        record = self._table[key]
        if record is None:
            counts.misses += 1
            self._history[now & self._mask] = -1
            return
        record["visits"] += 1
        record["times"][1] = now
        counts.hits += 1
        counts.checksum += record["size"] + ord(record["payload"][-1])
        self._history[now & self._mask] = key

    def _put(self, key: int, bits: int) -> None:
        now, counts = self._now, self.counts
        phase = now % (4 * self._records)
        height = min(phase, 4 * self._records - phase)
        size = PAYLOAD_MIN + height * DRIFT_MAX // self._keys + (bits >> 8 & 0x7F)
        start = bits >> 16 & (TEXT_STARTS - 1)
        payload = self._text[start : start + size]
        record = self._table[key]
        if record is None:
            self._table[key] = {
                "id": self._first_id + key,
                "visits": 0,
                "times": [now, now],
                "size": size,
                "payload": payload,
            }
            counts.inserts += 1
            counts.live_records += 1
            counts.live_payload_bytes += size
        else:
            counts.live_payload_bytes += size - record["size"]
            record["payload"] = payload
            record["size"] = size
            record["times"][1] = now
            counts.replacements += 1
        self._history[now & self._mask] = key
        if counts.live_payload_bytes > self._bytes_max:
            self._evict()

    def _evict(self) -> None:
        counts, table = self.counts, self._table
        while counts.live_payload_bytes > self._bytes_max:
            key = self._history[self._oldest & self._mask]
            if key >= 0:
                record = table[key]
                if record is not None and record["times"][1] == self._oldest:
                    table[key] = None
                    counts.evictions += 1
                    counts.live_records -= 1
                    counts.live_payload_bytes -= record["size"]
            self._oldest += 1
        if self._now - self._oldest > self._mask:
            raise AssertionError("the history is too short")

    def digest(self, digest: int) -> int:
        """Continue a digest with every record alive, in the order of their keys. Raises AssertionError when they are not those that
        the shard counted. O(keys)."""
        records = size = 0
        for key in range(self._keys):
            record = self._table[key]
            if record is None:
                continue
            payload = record["payload"].encode("ascii")
            made, used = record["times"]
            for word in (used << 32 | crc32(payload), record["id"] << 32 | record["visits"], made):
                digest = ((digest ^ word) * DIGEST_PRIME) & MASK
            records += 1
            size += len(payload)
        if (records, size) != (self.counts.live_records, self.counts.live_payload_bytes):
            raise AssertionError(f"records were lost: {records} of {size} bytes, counted {self.counts}")
        return digest
