"""mremap in the model: what each kernel version does and refuses, in the order in which it looks."""

import errno

import pytest

from subduct.model import (
    RULES,
    AddressSpace,
    Feature,
    Limits,
    MapFlag,
    Prot,
    RefusedCall,
    RegisterMode,
    RemapFlag,
    Steps,
    Version,
    VmFlag,
    dense_steps,
)
from subduct.model.fault import Access
from subduct.model.mremap_rules import mremap_orders
from subduct.model.table import Levels
from subduct.model.uapi import PAGE, PMD, PUD

VERSIONS = ("5.7", "5.10", "5.13", "5.16", "6.1", "6.12", "6.13", "6.15", "6.17", "6.18", "7.1", "7.3")
OLD, NEW = 1 << 40, 1 << 41
MOVE = RemapFlag.MAYMOVE | RemapFlag.FIXED
LEAVE = MOVE | RemapFlag.DONTUNMAP
FD, UFFD = 3, 4
ANONYMOUS = MapFlag.PRIVATE | MapFlag.ANONYMOUS


def space_with(
    version: str, kind: MapFlag = MapFlag.SHARED, length: int = 4 * PAGE, limits: Limits | None = None
) -> AddressSpace:
    """An address space with one mapping at OLD, of a memfd unless it is anonymous."""
    space = AddressSpace(version, limits=limits)
    fd = -1
    if not kind & MapFlag.ANONYMOUS:
        fd = space.memfd_create(FD)
        space.ftruncate(fd, 2 * length)
    space.mmap(OLD, length, Prot.READ | Prot.WRITE, kind | MapFlag.FIXED, fd)
    return space


def refused(space: AddressSpace, *arguments: int) -> tuple[str, str]:
    """The rule that refuses an mremap, and its errno."""
    with pytest.raises(RefusedCall) as raised:
        space.mremap(*arguments)
    assert raised.value.errno == raised.value.rule.error
    return raised.value.rule.id, errno.errorcode[raised.value.errno]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", [MapFlag.SHARED, MapFlag.PRIVATE, MapFlag.SHARED | MapFlag.ANONYMOUS])
def test_dontunmap_of_what_is_not_private_anonymous(version: str, kind: MapFlag) -> None:
    space = space_with(version, kind)
    arguments = (OLD, 4 * PAGE, 4 * PAGE, LEAVE, NEW)
    if Version.parse(version) < (5, 13):
        assert refused(space, *arguments) == ("mremap.dontunmap-shared", "EINVAL")
        assert len(list(space.mappings)) == 1
    else:
        assert space.mremap(*arguments) == NEW
        assert [mapping.start for mapping in space.mappings] == [OLD, NEW]


@pytest.mark.parametrize("version", VERSIONS)
def test_dontunmap_of_private_anonymous_memory(version: str) -> None:
    space = space_with(version, ANONYMOUS)
    assert space.write(OLD, 7) is Access.OK
    assert space.mremap(OLD, 4 * PAGE, 4 * PAGE, LEAVE, NEW) == NEW
    assert (space.read(OLD), space.read(NEW)) == (0, 7)


def test_the_old_range_of_shared_memory_shows_the_same_pages() -> None:
    space = space_with("6.18")
    space.write(OLD + PAGE, 7)
    space.mremap(OLD, 4 * PAGE, 4 * PAGE, LEAVE, NEW)
    assert space.present(OLD, OLD + 4 * PAGE) == []
    assert (space.read(OLD + PAGE), space.read(NEW + PAGE)) == (7, 7)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("flag", [VmFlag.DONTEXPAND, VmFlag.PFNMAP])
def test_mappings_that_are_meant_to_exist_once(version: str, flag: VmFlag) -> None:
    space = space_with(version)
    next(space.mappings).flags |= flag
    rule, error = refused(space, OLD, 4 * PAGE, 4 * PAGE, LEAVE, NEW)
    name = "dontexpand" if flag is VmFlag.DONTEXPAND else "pfnmap"
    assert error == "EINVAL"
    assert rule == ("mremap.dontunmap-shared" if Version.parse(version) < (5, 13) else f"mremap.dontunmap-{name}")
    assert f"VM_{flag.name}" in RULES[f"mremap.dontunmap-{name}"].sentence
    assert refused(space, OLD, 4 * PAGE, 5 * PAGE, RemapFlag.MAYMOVE) == ("mremap.growth-special", "EFAULT")


def test_the_destination_survives_a_refusal_only_if_it_is_looked_at_later() -> None:
    for version, survives in (("5.10", False), ("6.12", False), ("6.18", True)):
        space = space_with(version)
        space.mmap(NEW, PAGE, Prot.READ, ANONYMOUS | MapFlag.FIXED)
        assert refused(space, OLD, 5 * PAGE, 6 * PAGE, MOVE, NEW) == ("mremap.crosses-end", "EFAULT")
        assert (space.state.layout.at(NEW) is not None) is survives, version


@pytest.mark.parametrize("version", VERSIONS)
def test_an_unmapped_address_in_front_of_a_wrong_target(version: str) -> None:
    """Before 5.16 and from 6.17 on the arguments are looked at first, in between the mapping is."""
    space = AddressSpace(version)
    found = refused(space, OLD, PAGE, PAGE, MOVE, OLD)
    between = (5, 16) <= Version.parse(version) < (6, 17)
    assert found == (("mremap.unmapped", "EFAULT") if between else ("mremap.overlap", "EINVAL"))


def test_shrinking_nothing_was_a_success_once() -> None:
    assert AddressSpace("5.10").mremap(OLD, 2 * PAGE, PAGE, 0) == OLD
    assert refused(AddressSpace("5.16"), OLD, 2 * PAGE, PAGE, 0) == ("mremap.unmapped", "EFAULT")


def test_several_mappings_at_once() -> None:
    for version in ("6.12", "6.18"):
        space = space_with(version)
        space.mmap(OLD + 6 * PAGE, PAGE, Prot.READ, ANONYMOUS | MapFlag.FIXED)
        arguments = (OLD, 7 * PAGE, 7 * PAGE, MOVE, NEW)
        if version == "6.12":
            assert refused(space, *arguments) == ("mremap.crosses-end", "EFAULT")
        else:
            assert space.mremap(*arguments) == NEW
            assert [mapping.start for mapping in space.mappings] == [NEW, NEW + 6 * PAGE]


def test_sealed_mappings() -> None:
    space = space_with("6.12")
    space.mseal(OLD, PAGE)
    assert refused(space, OLD, PAGE, PAGE, MOVE, NEW) == ("mremap.sealed", "EPERM")
    with pytest.raises(RefusedCall, match=r"mseal\.missing"):
        space_with("6.1").mseal(OLD, PAGE)


@pytest.mark.parametrize(
    ("version", "locked", "leaks"),
    [
        ("5.10", [False, True], 0),
        ("6.12", [False, True, True], 0),
        ("6.15", [False, True], 2),
        ("6.18", [False, True], 2),
        ("7.2", [False, True], 2),
        ("7.3", [False, True, True], 0),
    ],
)
def test_locked_memory(version: str, locked: list[bool], leaks: int) -> None:
    space = space_with(version, ANONYMOUS)
    space.mlock(OLD, 4 * PAGE)
    space.mremap(OLD, 2 * PAGE, 2 * PAGE, LEAVE, NEW)
    assert [VmFlag.LOCKED in mapping.flags for mapping in space.mappings] == locked
    assert space.state.locked_pages == 4 + leaks


@pytest.mark.parametrize(("version", "mappings"), [("6.18", [OLD]), ("7.3", [OLD, OLD + 4 * PAGE])])
def test_what_moves_beside_the_mapping_that_had_it(version: str, mappings: list[int]) -> None:
    """It is merged with that mapping up to 7.2, and with any other still."""
    space = space_with(version, ANONYMOUS)
    assert space.mremap(OLD, 4 * PAGE, 4 * PAGE, LEAVE, OLD + 4 * PAGE) == OLD + 4 * PAGE
    assert [mapping.start for mapping in space.mappings] == mappings
    space = space_with(version, ANONYMOUS)
    space.mmap(NEW, PAGE, Prot.READ | Prot.WRITE, ANONYMOUS | MapFlag.FIXED)
    space.mremap(OLD, 4 * PAGE, 4 * PAGE, LEAVE, NEW + PAGE)
    assert [mapping.start for mapping in space.mappings] == [OLD, NEW]


@pytest.mark.parametrize(("version", "mappings"), [("7.2", [OLD]), ("7.3", [OLD, OLD + 4 * PAGE])])
def test_what_is_registered_arrives_beside_what_is_registered(version: str, mappings: list[int]) -> None:
    """Where it is merged, the registration of the whole ends with that of what moved."""
    space = space_with(version, ANONYMOUS)
    space.mmap(NEW, PAGE, Prot.READ | Prot.WRITE, ANONYMOUS | MapFlag.FIXED)
    space.userfaultfd(UFFD)
    space.uffd_register(UFFD, OLD, 4 * PAGE, RegisterMode.MISSING)
    space.uffd_register(UFFD, NEW, PAGE, RegisterMode.MISSING)
    space.mremap(NEW, PAGE, PAGE, MOVE, OLD + 4 * PAGE)
    assert [mapping.start for mapping in space.mappings] == mappings
    assert (next(space.mappings).registration is not None) is (version == "7.3")


@pytest.mark.parametrize(("version", "charged"), [("6.12", True), ("6.15", False), ("6.18", True)])
def test_the_charge_of_the_old_range(version: str, charged: bool) -> None:
    space = space_with(version, ANONYMOUS)
    space.mremap(OLD, 4 * PAGE, 4 * PAGE, LEAVE, NEW)
    assert (VmFlag.ACCOUNT in next(space.mappings).flags) is charged


@pytest.mark.parametrize(
    ("version", "page", "place", "spills"),
    [
        ("5.10", 1, NEW, True),
        ("5.10", 3, NEW, False),
        ("5.10", 3, OLD + 4 * PAGE, False),
        ("5.10", 1, OLD - PAGE, False),
        ("5.11", 1, NEW, False),
    ],
)
def test_the_charge_of_the_mapping_behind(version: str, page: int, place: int, *, spills: bool) -> None:
    """Pages that come to lie beside the mapping that had them are inside of it from then on, and nothing was split."""
    space = space_with(version, ANONYMOUS)
    space.ftruncate(space.memfd_create(FD), PAGE)
    space.mmap(OLD + 8 * PAGE, PAGE, Prot.READ, MapFlag.SHARED | MapFlag.FIXED, FD)
    space.mremap(OLD + page * PAGE, PAGE, PAGE, LEAVE, place)
    behind = next(mapping for mapping in space.mappings if mapping.start == OLD + 8 * PAGE)
    assert (VmFlag.ACCOUNT in behind.flags) is spills


def test_limits() -> None:
    space = space_with("6.18", limits=Limits(address_space_bytes=6 * PAGE))
    assert refused(space, OLD, 4 * PAGE, 4 * PAGE, LEAVE, NEW) == ("mremap.dontunmap-address-space-limit", "ENOMEM")
    assert refused(space, OLD, 4 * PAGE, 7 * PAGE, 1) == ("mremap.address-space-limit", "ENOMEM")
    assert space.mremap(OLD, 4 * PAGE, 4 * PAGE, MOVE, NEW) == NEW
    space = space_with("6.18", limits=Limits(locked_bytes=5 * PAGE))
    space.mlock(OLD, 4 * PAGE)
    assert refused(space, OLD, 4 * PAGE, 6 * PAGE, 1) == ("mremap.locked-limit", "EAGAIN")
    space = space_with("6.18", limits=Limits(lowest_address=PAGE))
    assert refused(space, OLD, 4 * PAGE, 2 * PAGE, MOVE, 0) == ("mremap.below-minimum", "EPERM")
    assert [(each.start, each.end) for each in space.mappings] == [(OLD, OLD + 2 * PAGE)]
    space = space_with("6.18", limits=Limits(mappings=5))
    assert refused(space, OLD, PAGE, PAGE, MOVE, NEW) == ("mremap.too-many-mappings", "ENOMEM")


@pytest.mark.parametrize("features", [Feature.SIGBUS, Feature.EVENT_REMAP])
def test_registration(features: Feature) -> None:
    """The old range keeps it; the new one loses it, unless somebody is told."""
    space = space_with("6.18", length=PUD)
    space.userfaultfd(UFFD, features)
    space.uffd_register(UFFD, OLD, PUD, RegisterMode.MINOR)
    space.state.table.make_table(OLD)
    space.mremap(OLD, PUD, PUD, LEAVE, NEW)
    old, new = space.mappings
    assert old.registration is not None
    assert (new.registration is not None) is (features is Feature.EVENT_REMAP)


@pytest.mark.parametrize(
    ("version", "registered", "shift", "steps"),
    [
        ("5.10", False, 0, Steps(pmd=2)),
        ("5.13", False, 0, Steps(pud=2)),
        ("5.13", False, PMD, Steps(pmd=2)),
        ("5.13", False, PAGE, Steps(pte=2)),
        ("6.12", True, 0, Steps(pud=2)),
        ("6.13", True, 0, Steps(pte=2)),
        ("6.18", True, PMD, Steps(pte=2)),
    ],
)
def test_steps(version: str, registered: bool, shift: int, steps: Steps) -> None:
    space = space_with(version, ANONYMOUS, 2 * PUD)
    if registered:
        space.userfaultfd(UFFD)
        space.uffd_register(UFFD, OLD, 2 * PUD, RegisterMode.WP)
    for offset in (0, PUD + PMD):
        space.write(OLD + offset, 1 + offset)
    space.mremap(OLD, 2 * PUD, 2 * PUD, MOVE, NEW + shift)
    assert space.steps == steps
    assert (space.read(NEW + shift), space.read(NEW + shift + PUD + PMD)) == (1, 1 + PUD + PMD)


def test_a_step_needs_an_empty_slot() -> None:
    space = space_with("6.12", ANONYMOUS, PMD)
    space.write(OLD, 1)
    space.mmap(NEW + PMD, PMD, Prot.READ | Prot.WRITE, ANONYMOUS | MapFlag.FIXED)
    space.write(NEW + PMD, 2)
    assert space.mremap(OLD, PMD, PMD, MOVE, NEW) == NEW
    assert space.steps == Steps(pmd=1)
    space.mmap(OLD, PAGE, Prot.READ | Prot.WRITE, ANONYMOUS | MapFlag.FIXED)
    space.write(OLD, 3)
    space.mremap(NEW + PMD, PMD - PAGE, PMD - PAGE, MOVE, OLD + PAGE)
    assert space.steps == Steps(pmd=1, pte=1)


def test_a_move_inside_a_table_begins_at_its_start() -> None:
    for version, steps in (("6.1", Steps(pmd=1, pte=1)), ("6.12", Steps(pmd=2))):
        space = AddressSpace(version)
        start = OLD + 5 * PAGE
        space.mmap(start, 2 * PMD - 5 * PAGE, Prot.READ | Prot.WRITE, ANONYMOUS | MapFlag.FIXED)
        space.write(start, 1)
        space.write(OLD + PMD, 2)
        space.mremap(start, 2 * PMD - 5 * PAGE, 2 * PMD - 5 * PAGE, MOVE, NEW + 5 * PAGE)
        assert space.steps == steps, version
        assert (space.read(NEW + 5 * PAGE), space.read(NEW + PMD)) == (1, 2)


@pytest.mark.parametrize(
    ("old", "new"), [(0, 0), (PMD, PMD), (0, PMD), (PAGE, PAGE), (PAGE, 0), (3 * PMD + PAGE, 5 * PAGE)]
)
@pytest.mark.parametrize("length", [PMD, PMD + PAGE, PUD, PUD + 3 * PAGE, 2 * PUD + PMD])
def test_dense_steps_are_those_of_a_full_table(old: int, new: int, length: int) -> None:
    """Counted without a table, as with one in which every 2 MiB have a page; entries are counted for all pages then."""
    space = AddressSpace("6.12")
    table = space.state.table
    for address in range(OLD + old - (OLD + old) % PMD, OLD + old + length, PMD):
        table.make_table(address)
    walked = table.move(OLD + old, NEW + new, length, Levels())
    dense = dense_steps(OLD + old, NEW + new, length, Levels())
    assert (dense.pud, dense.pmd) == (walked.pud, walked.pmd)
    assert dense.pud * PUD + dense.pmd * PMD + dense.pte * PAGE == length


def test_every_step_of_every_order_is_known() -> None:
    from subduct.model.mremap import _ACTIONS, _CHECKS

    for version in VERSIONS:
        for steps in mremap_orders(Version.parse(version)).values():
            assert [step for step in steps if step not in _CHECKS and step not in _ACTIONS] == []
    assert [rule for rule in _CHECKS if RULES[rule].error is None] == []


def test_every_rule_says_where_it_comes_from() -> None:
    assert len(RULES) > 100
    assert [rule.id for rule in RULES.values() if not rule.source or not rule.sentence.endswith(".")] == []
    assert [rule.id for rule in RULES.values() if rule.until is not None and rule.until <= rule.since] == []


def test_growth_beyond_the_address_space_finds_no_place_before_the_sizes_were_checked() -> None:
    huge = 1 << 62
    assert refused(space_with("6.1"), OLD, 4 * PAGE, huge, RemapFlag.MAYMOVE) == ("mremap.no-place", "ENOMEM")
    assert refused(space_with("6.18"), OLD, 4 * PAGE, huge, RemapFlag.MAYMOVE) == (
        "mremap.new-length-too-long",
        "EINVAL",
    )
