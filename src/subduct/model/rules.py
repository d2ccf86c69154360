"""What a rule is, and the book of those that hold in one kernel version."""

from __future__ import annotations

import errno
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from subduct.model.version import OLDEST, Version

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class Rule:
    """Something that the kernel checks (`error` is the errno it refuses with) or does (`error` is None).

    It holds from the version `since` on, and no longer from `until` on. `source` is the commit, the man page or the function
    that it is read from.
    """

    id: str
    error: int | None
    sentence: str
    source: str
    since: Version = OLDEST
    until: Version | None = None

    def holds_in(self, version: Version) -> bool:
        """Whether kernels of this version have it."""
        return self.since <= version and (self.until is None or version < self.until)

    @property
    def error_name(self) -> str:
        """The name of the errno, such as "EINVAL"; "" for a rule that refuses nothing."""
        return "" if self.error is None else errno.errorcode[self.error]

    @property
    def versions(self) -> str:
        """The versions that have it, in words."""
        begin = "all versions" if self.since == OLDEST else f"from {self.since}"
        if self.until is None:
            return begin
        return f"before {self.until}" if self.since == OLDEST else f"{begin}, before {self.until}"


class RefusedCall(Exception):  # noqa: N818
    """A modelled call that the kernel refuses: by which rule, with which errno."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(f"{rule.error_name} [{rule.id}]: {rule.sentence}")
        assert rule.error is not None
        self.rule = rule
        self.errno: int = rule.error


class RuleBook:
    """The rules as they are in one version, by id. Every check of the model goes through it."""

    def __init__(self, version: Version, rules: Iterable[Rule], orders: Mapping[str, tuple[str, ...]]) -> None:
        self.version = version
        self._rules = {rule.id: rule for rule in rules}
        self._orders = dict(orders)
        self._holding = {rule.id for rule in self._rules.values() if rule.holds_in(version)}

    def rule(self, identity: str) -> Rule:
        """The rule with an id. KeyError for one that nobody wrote."""
        return self._rules[identity]

    def holds(self, identity: str) -> bool:
        """Whether this version has the rule. KeyError for one that nobody wrote."""
        return self._rules[identity].id in self._holding

    def check(self, identity: str, broken: object) -> None:
        """Refuses the call if this version has the rule and `broken` is true. Raises RefusedCall."""
        if broken and self.holds(identity):
            raise RefusedCall(self._rules[identity])

    def refuse(self, identity: str) -> RefusedCall:
        """The refusal by a rule, for the caller to raise."""
        return RefusedCall(self._rules[identity])

    def order(self, name: str) -> tuple[str, ...]:
        """The steps of a call, in the order in which this version takes them."""
        return self._orders[name]

    def without(self, identity: str) -> RuleBook:
        """The same book, except that a rule does not hold."""
        book = self._copy()
        book._holding.discard(self._rules[identity].id)
        return book

    def having(self, identity: str) -> RuleBook:
        """The same book, except that a rule holds."""
        book = self._copy()
        book._holding.add(self._rules[identity].id)
        return book

    def with_error(self, identity: str, error: int) -> RuleBook:
        """The same book, except that a rule refuses with another errno."""
        book = self._copy()
        book._rules[identity] = replace(self._rules[identity], error=error)
        return book

    def with_order(self, name: str, steps: tuple[str, ...]) -> RuleBook:
        """The same book, except that a call takes its steps in another order."""
        book = self._copy()
        book._orders = {**self._orders, name: steps}
        return book

    def _copy(self) -> RuleBook:
        book = RuleBook(self.version, self._rules.values(), self._orders)
        book._holding = set(self._holding)
        return book
