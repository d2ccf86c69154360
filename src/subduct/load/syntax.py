"""Syntax trees as linked records.

Every node becomes a dict: `type`, `line` (where the node has one), `parent` (the record of the node above, None at the
root) and the node's own fields. Fields that are None or an empty list are left out, as `ast.dump` leaves them out.
Nodes that carry nothing, such as operators and `Load`, become the name of their class. Constants that no heap can hold
become records: `{"type": "complex", "text": "1j"}`, `{"type": "Ellipsis"}`.
"""

from __future__ import annotations

import ast
from typing import Any, TypeAlias

Record: TypeAlias = dict[str, Any]

# Fields whose strings are text, not names that somebody may look for.
_TEXT_FIELDS = frozenset({"value", "kind", "str", "tag", "type_comment"})
_CONSTANTS = frozenset({str, bytes, int, float, bool})


def _node_classes() -> dict[type, tuple[str, ...]]:
    """Every class of node with the names of its fields."""
    classes: dict[type, tuple[str, ...]] = {}
    pending: list[type[ast.AST]] = [ast.AST]
    while pending:
        node_class = pending.pop()
        classes[node_class] = node_class._fields
        pending.extend(node_class.__subclasses__())
    return classes


_FIELDS = _node_classes()


def syntax_records(tree: ast.AST) -> tuple[Record, dict[str, list[Record]], int]:
    """The record of the root, the records that use each name in order, and how many records there are.

    Takes time linear in the size of the tree, and no stack for its depth.
    """
    root: Record = {"type": type(tree).__name__, "parent": None}
    names: dict[str, list[Record]] = {}
    # The list grows behind the loop: every node appended is visited in its turn.
    work: list[tuple[ast.AST, Record]] = [(tree, root)]
    for node, record in work:
        values = node.__dict__
        for field in _FIELDS[type(node)]:
            value = values.get(field)
            if value is None or value == []:
                continue
            if type(value) is str:
                record[field] = value
                if field not in _TEXT_FIELDS:
                    names.setdefault(value, []).append(record)
            elif type(value) is list:
                record[field] = [_child(item, record, work, names) for item in value]
            else:
                record[field] = _child(value, record, work, names)
    return root, names, len(work)


def _child(value: Any, parent: Record, work: list[tuple[ast.AST, Record]], names: dict[str, list[Record]]) -> Any:
    """What stands in `parent` for a value that is neither None nor a list."""
    kind = type(value)
    fields = _FIELDS.get(kind)
    if fields is None:
        if kind is str:  # a name in the list of a `global` or `nonlocal` statement
            names.setdefault(value, []).append(parent)
            return value
        return _constant(value)
    if not fields and not value._attributes:
        return kind.__name__
    record: Record = {"type": kind.__name__}
    line = getattr(value, "lineno", None)
    if line is not None:
        record["line"] = line
    record["parent"] = parent
    work.append((value, record))
    return record


def _constant(value: Any) -> Any:
    if value is None or type(value) in _CONSTANTS:
        return value
    if value is Ellipsis:
        return {"type": "Ellipsis"}
    return {"type": type(value).__name__, "text": repr(value)}
