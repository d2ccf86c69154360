"""Figures of samples, and verdicts about them."""

import pytest

from subduct.bench.samples import batches, quantile, ratio, spread, times
from subduct.bench.table import Column, Table, at, in_units, number, span
from subduct.bench.target import Target, worst


def test_quantiles_are_by_nearest_rank() -> None:
    samples = [float(number) for number in range(100, 0, -1)]
    assert quantile(samples, 0.5) == 50
    assert quantile(samples, 0.99) == 99
    assert quantile(samples, 1) == 100
    assert quantile([7.0], 0.01) == 7
    with pytest.raises(ValueError, match="no samples"):
        quantile([], 0.5)


def test_times_and_spread() -> None:
    assert times([3.0, 1.0, 2.0]) == {"median_us": 2, "p99_us": 3, "max_us": 3, "count": 3}
    assert spread([3.0, 1.0, 2.0]) == {"median": 2, "min": 1, "max": 3, "repetitions": 3}


def test_batches_are_even_and_lose_nothing() -> None:
    samples = [float(number) for number in range(11)]
    found = batches(samples, 3)
    assert [len(batch) for batch in found] == [3, 4, 4]
    assert [sample for batch in found for sample in batch] == samples
    assert len(batches([1.0, 2.0], 5)) == 2


def test_a_ratio_needs_a_floor() -> None:
    assert ratio(3, 2) == 1.5
    assert ratio(3, 0) is None


def test_a_target_is_met_missed_or_not_measured() -> None:
    assert Target("a", 1.3, 1.3).met is True
    assert Target("a", 1.31, 1.3).met is False
    assert Target("a", None, 1.3, how="needs more").met is None
    assert Target("a", 0.2, 0.25, at_least=True).met is False
    assert Target("a", None, 1.3, "x", how="needs more").cells() == ("not measured", "a", "needs more", "at most 1.3 x")
    assert Target("a", 2000.0, 1.5, "us").cells()[2] == "2,000 us"
    assert Target("a", 0.2, 0.25, at_least=True).object()["met"] is False


def test_the_worst_is_of_what_was_measured() -> None:
    assert worst([None, 2.0, 1.0]) == 2
    assert worst([None]) is None
    assert worst([]) is None


def test_a_cell_without_a_figure_is_empty() -> None:
    row = {"a": {"b": 1.25, "spread": {"min": 1.0, "max": 2.0}}}
    assert at(row, "a.b") == 1.25
    assert at(row, "a.c.d") is None
    table = Table(
        "title",
        [
            Column("name", lambda _: "row"),
            Column("b", number("a.b", 1)),
            Column("c", number("a.c")),
            Column("", span("a.spread")),
        ],
        [row],
    )
    assert table.lines() == ["title", "name    b  c", "row   1.2     1.0..2.0"]


def test_sizes_are_shown_in_the_largest_unit() -> None:
    assert [in_units(size) for size in (5, 2048, 64 << 20, 3 << 29)] == ["5 B", "2 KiB", "64 MiB", "1.5 GiB"]
