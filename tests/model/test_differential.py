"""The model against the running kernel: known cases, random sequences, and wrong rules that must be noticed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import pytest

from harness.seed import SEED
from model.cases import CASES, REGISTERED_CASES, SPECIAL_CASES
from model.mutations import MUTATIONS, Mutation
from subduct.model import NEWEST, MapFlag, Prot, Version
from subduct.model.differential import ground, step_class
from subduct.model.differential.call import Call
from subduct.model.differential.choice import Choice
from subduct.model.differential.comparison import DifferenceError, Step, new_model, replay, run_calls, run_sequence
from subduct.model.differential.generate import choices, run_random
from subduct.model.differential.model_side import ModelSide
from subduct.model.differential.operations import KINDS
from subduct.model.differential.server import BrokenError, KernelServer
from subduct.model.differential.step_class import CASES as STEP_CASES
from subduct.model.differential.step_class import Timed, check_step_classes, contradictions, told_apart
from subduct.model.rules import RuleBook
from subduct.model.space import AddressSpace
from subduct.model.state import rule_book
from subduct.model.uapi import PAGE, RemapFlag

RUNNING = min(Version.parse(os.uname().release), NEWEST)
SEQUENCES = int(os.environ.get("SUBDUCT_SEQUENCES", "150"))
# Wrong rules are looked for in the same sequences each time: whether all are found is no matter of luck.
MUTATION_SEQUENCES, MUTATION_SEED = 120, 5
ENOUGH = 20
TAKEN_BACK = ("mremap.locked-leak", "mremap.splits-locked", "mremap.merges-with-source", "mremap.account-lost")


@pytest.fixture(scope="module")
def server() -> Iterator[KernelServer]:
    with KernelServer() as started:
        assert started.machine.empty
        yield started


@pytest.fixture(scope="module")
def book(server: KernelServer) -> RuleBook:
    return server.machine.adapted(rule_book(RUNNING))


def known_cases(server: KernelServer) -> dict[str, tuple[Call, ...]]:
    """The known cases that this machine can do."""
    perf, vvar = SPECIAL_CASES.items()
    special = [case for case, there in ((perf, server.machine.perf), (vvar, server.machine.vvar)) if there]
    return CASES | (REGISTERED_CASES if server.machine.userfaultfd else {}) | dict(special)


@pytest.mark.parametrize("version", ["6.12", "6.17", "6.18", "7.2", "7.3"])
def test_a_kernel_that_took_later_changes_back_is_compared_with_them(server: KernelServer, version: str) -> None:
    """Of the changes of 7.3 that 7.2 got in later releases, and of 6.18 that 6.17 did, each that is seen holds, and none that the
    version has goes."""
    plain = rule_book(Version.parse(version))
    old = replace(server.machine, leaks_locked=True, splits_locked=False, merges_with_source=True, keeps_charge=False)
    assert all(old.adapted(plain).holds(rule) is plain.holds(rule) for rule in TAKEN_BACK)
    new = replace(server.machine, leaks_locked=False, splits_locked=True, merges_with_source=False, keeps_charge=True)
    assert [new.adapted(plain).holds(rule) for rule in TAKEN_BACK] == [False, True, False, False]


def test_there_are_many_kinds_of_operation() -> None:
    assert len(KINDS) >= 14


@pytest.mark.parametrize("name", [*CASES, *REGISTERED_CASES, *SPECIAL_CASES])
def test_known_cases(server: KernelServer, book: RuleBook, name: str) -> None:
    calls = known_cases(server).get(name)
    if calls is None:
        pytest.skip("needs userfaultfd, perf events or vvar, which this kernel keeps")
    assert len(run_calls(server, book, calls)) >= len(calls)


def test_random_sequences(server: KernelServer, book: RuleBook) -> None:
    done: list[int] = []
    run_random(
        server.machine,
        lambda operations: done.append(len(run_sequence(server, book, operations))),
        sequences=SEQUENCES,
        seed=SEED,
    )
    assert len(done) >= SEQUENCES * 0.9
    assert sum(done) > 8 * SEQUENCES


@pytest.mark.parametrize("kind", KINDS)
def test_arguments_are_what_a_call_can_be_given(kind: str) -> None:
    """Also where a mapping has grown beyond the single pages, and another begins there."""
    space = AddressSpace()
    for start, length in ((ground.START, 8 * PAGE), (ground.END - 2 * PAGE, 9 * PAGE)):
        space.mmap(start, length, Prot.READ | Prot.WRITE, MapFlag.SHARED | MapFlag.ANONYMOUS | MapFlag.FIXED)
    for number in range(2000):
        choice = Choice(choices(number), space.state)
        call = KINDS[kind][1](choice)
        assert all(argument >= 0 for argument in call.arguments[:3] if isinstance(argument, int)), call
        address, length = Choice(choices(number), space.state).span()
        assert ground.START <= address < address + length <= ground.END


def test_a_process_that_fails_itself_is_no_difference(server: KernelServer) -> None:
    with pytest.raises(BrokenError) as raised:
        server.make([Call("peek", (0,)), Call("mlock", (ground.START, -PAGE)), Call("peek", (0,))])
    for part in ("exit status 1", "at mlock(", "-4096", "OverflowError"):
        assert part in str(raised.value)
    seen = server.make([Call("peek", (0,)), Call("load", (0,)), Call("peek", (0,))])
    assert [str(each.result) for each in seen] == ["EFAULT", "signal 11"]
    assert [each.view is None for each in seen] == [False, True]
    assert server.make([]) == []


def test_what_the_kernel_maps_elsewhere_is_read_and_taken_away(server: KernelServer, book: RuleBook) -> None:
    """At the kernel's address, which is known only once the calls are made."""
    flags = MapFlag.PRIVATE | MapFlag.ANONYMOUS
    mapping = Call("mmap", (0, 3 * PAGE, Prot.READ | Prot.WRITE, flags, -1, 0))
    steps = run_calls(server, book, [mapping, Call("poke", (ground.START, 7)), mapping])
    for number in (0, 5):
        made, first, last, gone = steps[number : number + 4]
        address = made.kernel.result.number
        assert not ground.inside(address)
        assert (first.call, last.call) == (Call("peek", (address,)), Call("peek", (address + 2 * PAGE,)))
        assert gone.call == Call("munmap", (address, 3 * PAGE))
        assert [str(each.kernel.result) for each in (first, last, gone)] == ["0x0"] * 3
    assert len(steps) == 9


def test_the_address_0_is_an_address_as_any_other_for_those_who_may_map_there(
    server: KernelServer, book: RuleBook
) -> None:
    flags = MapFlag.PRIVATE | MapFlag.ANONYMOUS
    mapping = Call("mmap", (0, PAGE, Prot.READ | Prot.WRITE, flags, -1, 0))
    there = Call("mmap", (ground.START, PAGE, Prot.READ | Prot.WRITE, flags | MapFlag.FIXED, -1, 0))
    moved = Call("mremap", (ground.START, PAGE, PAGE, RemapFlag.MAYMOVE | RemapFlag.FIXED, 0))
    steps = run_calls(server, book, [mapping, there, moved])
    if server.machine.lowest_address:
        assert str(steps[-1].kernel.result) == "EPERM"
    else:
        assert [str(each.call) for each in steps[-3:]] == ["peek(0)", "peek(0)", f"munmap(0, {PAGE})"]


def test_a_sequence_ends_where_the_model_says_that_a_signal_ends_it(server: KernelServer, book: RuleBook) -> None:
    steps = run_calls(server, book, [Call("load", (0,)), Call("peek", (0,))])
    assert [str(each.kernel.result) for each in steps] == ["signal 11"]


def test_a_signal_that_only_the_kernel_sends_is_a_difference(server: KernelServer, book: RuleBook) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ModelSide, "_load", lambda _self, _address: 0)
        with pytest.raises(DifferenceError, match=r"result: kernel signal 11, model 0x0"):
            run_calls(server, book, [Call("peek", (0,)), Call("load", (0,)), Call("peek", (0,))])


def test_kinds_of_page_table_steps(server: KernelServer, book: RuleBook) -> None:
    """What their times tell is for `make differential` to say: here the machine may be busy."""
    timed = step_class.step_classes(server, book)
    assert {each.expected for each in timed} >= {"PMD", "PTE"}
    assert all(each.time_ns > 0 for each in timed)


def timed_as(**times: int) -> list[Timed]:
    """The three plain cases, which take these times."""
    return [Timed(case, name, time_ns) for case, (name, time_ns) in zip(STEP_CASES, times.items(), strict=False)]


CLEAR = timed_as(PUD=13_000, PMD=180_000, PTE=1_100_000)
BLURRED = timed_as(PUD=100_000, PMD=180_000, PTE=1_100_000)
WRONG = [*CLEAR, Timed(STEP_CASES[4], "PUD", 1_000_000)]


@pytest.mark.parametrize(
    ("rounds", "used", "clear", "wrong"),
    [
        ([CLEAR], 1, True, False),
        ([BLURRED, BLURRED, CLEAR], 3, True, False),
        ([BLURRED] * 20, 10, False, False),
        ([WRONG, CLEAR], 2, True, False),
        ([WRONG, BLURRED, WRONG], 3, True, True),
    ],
)
def test_times_are_taken_until_they_tell_something(
    monkeypatch: pytest.MonkeyPatch,
    server: KernelServer,
    book: RuleBook,
    rounds: list[list[Timed]],
    used: int,
    clear: bool,
    wrong: bool,
) -> None:
    taken = iter(rounds)
    monkeypatch.setattr(step_class, "step_classes", lambda _server, _book: next(taken))
    timed, contradicted = check_step_classes(server, book)
    assert len(list(taken)) == len(rounds) - used
    assert (told_apart(timed), bool(contradicted)) == (clear, wrong)


def test_wrong_kinds_of_steps_are_noticed() -> None:
    assert contradictions(CLEAR) == []
    for name in ("PUD", "PMD"):
        assert contradictions([*CLEAR, Timed(STEP_CASES[4], name, 1_000_000)])
    assert contradictions([replace(each, expected="PMD") for each in CLEAR])


@dataclass(frozen=True)
class Recorded:
    """What the kernel did in the known cases, and in random sequences."""

    known: list[list[Step]]
    random: list[list[Step]]


@pytest.fixture(scope="module")
def recorded(server: KernelServer, book: RuleBook) -> Recorded:
    known = [run_calls(server, book, calls) for calls in known_cases(server).values()]
    found: list[list[Step]] = []

    def run(operations: list[tuple[str, bytes]]) -> None:
        found.append(run_sequence(server, book, operations))

    run_random(server.machine, run, sequences=MUTATION_SEQUENCES, seed=MUTATION_SEED, shrink=False)
    return Recorded(known, found)


def notices(server: KernelServer, book: RuleBook, mutation: Mutation, sequences: list[list[Step]]) -> bool:
    """Whether a wrong rule differs from what the kernel did in one of the sequences."""
    with mutation.patched():
        wrong = mutation.change(book)
        return any(replay(server.machine, wrong, steps) for steps in sequences)


def test_the_right_rules_pass_the_recorded_sequences(server: KernelServer, book: RuleBook, recorded: Recorded) -> None:
    assert len(recorded.random) > MUTATION_SEQUENCES / 2
    assert not notices(server, book, Mutation("none"), recorded.known + recorded.random)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_wrong_rule_is_noticed(server: KernelServer, book: RuleBook, recorded: Recorded, mutation: Mutation) -> None:
    if not applies(mutation, server, book):
        pytest.skip("this machine cannot show it")
    assert notices(server, book, mutation, recorded.known + recorded.random)


def test_random_sequences_alone_notice_wrong_rules(server: KernelServer, book: RuleBook, recorded: Recorded) -> None:
    wrong = (mutation for mutation in MUTATIONS if applies(mutation, server, book))
    noticed = (mutation.name for mutation in wrong if notices(server, book, mutation, recorded.random))
    assert len(list(islice(noticed, ENOUGH))) == ENOUGH


def applies(mutation: Mutation, server: KernelServer, book: RuleBook) -> bool:
    """Whether a mutation changes the rules of this version, and the machine has what it is about."""
    machine = server.machine
    needs = {"dontexpand": machine.perf, "pfnmap": machine.vvar, "growth-special": machine.perf or machine.vvar}
    needs |= {"uffd.": machine.userfaultfd, "regist": machine.userfaultfd, "sealed": machine.mseal}
    if not all(there for word, there in needs.items() if word in mutation.name):
        return False
    if mutation.name.startswith(("without ", "having ")):
        kind, rule = mutation.name.split(" ", 1)
        return book.holds(rule) is (kind == "without")
    return True


def test_enough_wrong_rules_apply_here(server: KernelServer, book: RuleBook) -> None:
    assert sum(applies(mutation, server, book) for mutation in MUTATIONS) >= ENOUGH


def test_a_difference_says_what_was_done(server: KernelServer, book: RuleBook) -> None:
    wrong = book.without("mremap.overlap")
    with pytest.raises(DifferenceError) as raised:
        run_random(
            server.machine, lambda operations: void(run_sequence(server, wrong, operations)), sequences=200, seed=SEED
        )
    text = str(raised.value)
    assert "mremap(" in text
    assert "result: kernel EINVAL" in text
    # Shortened: no more than what it takes.
    assert text.count("->") <= 4


def void(_value: object) -> None:
    """Hypothesis wants tests that return nothing."""


def test_the_setup_is_the_same_on_both_sides(server: KernelServer, book: RuleBook) -> None:
    steps = run_calls(server, book, [Call("peek", (0,))])
    assert steps[0].kernel.view is not None
    assert new_model(server.machine, book).view().lines == steps[0].kernel.view.lines


def test_as_a_command() -> None:
    command = [sys.executable, "-m", "subduct.model.differential", "--sequences", "5", "--seed", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.stderr == ""
    outcome = json.loads(done.stdout)
    # Of times that something else may have disturbed.
    assert done.returncode == int(bool(outcome["step_class_differences"])), outcome
    assert outcome["seed"] == 1
    assert outcome["difference"] is None
    assert outcome["sequences"] >= 5
    assert outcome["machine"]["empty"] is True


def test_another_machine_that_does_not_answer(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "subduct.model.differential", "--connect", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("there is nothing to ask the kernel: ")
    assert "No such file" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("count", ["0", "-1", "many"])
def test_a_number_of_sequences_that_is_none(count: str) -> None:
    command = [sys.executable, "-m", "subduct.model.differential", "--sequences", count]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--sequences" in done.stderr
    assert "Traceback" not in done.stderr


def test_whose_rules_are_compared() -> None:
    command = [sys.executable, "-m", "subduct.model.differential", "--sequences", "1", "--kernel"]
    done = subprocess.run([*command, "5.6"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("MREMAP_DONTUNMAP came with Linux 5.7")
    done = subprocess.run([*command, "99.9", "--json"], capture_output=True, text=True, timeout=60, check=False)
    assert json.loads(done.stdout)["rules"] == str(NEWEST)
