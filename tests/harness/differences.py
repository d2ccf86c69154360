"""What differs between proxies and the builtins, and why: the tables of docs/differences.md, which a test holds to this file."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """One row of the table."""

    about: str
    builtin: str
    proxy: str
    why: str


DIFFERENCES: dict[str, Difference] = {
    "identity": Difference(
        "identity",
        '`d["a"] is d["a"]`',
        "each access makes an object; two proxies of one container are `==`, not `is`",
        "the heap moves what it holds, so nothing of Python's can lie in it",
    ),
    "types": Difference(
        "what can be stored",
        "any object, by reference",
        "exactly None, bool, int, float, str, bytes, dict, list and tuple, as copies; a proxy of the same heap by reference. "
        "Anything else: TypeError with the path to it in the value, which is not stored; what a call took before it one by one (`update` "
        "with pairs, `extend` with an iterator) stays",
        "the collector has to know every reference; what a subclass adds would be lost",
    ),
    "keys": Difference(
        "what can be a key",
        "any hashable object",
        "None, bool, int, float, str, bytes and tuples of these, at most 100 one in the other",
        "keys are hashed and compared inside the heap, where no Python code runs",
    ),
    "equal keys": Difference(
        "looking up an equal object of another type",
        "found: `Decimal(1)` finds the key 1",
        "instances of subclasses of str, int, float, bytes and tuple find the value they hold; Decimal, Fraction, complex and "
        "objects with an `__eq__` and `__hash__` of their own find nothing",
        "as above",
    ),
    "key objects": Difference(
        "tuples as keys, and in sets made of views",
        "come back as the same object",
        "come back as equal tuples, made anew",
        "as for identity",
    ),
    "nan": Difference(
        "NaN",
        "found by identity: `nan in [nan]`, `[nan] == [nan]`",
        "equals nothing, also as a key",
        "a float that was copied has no identity",
    ),
    "repr": Difference(
        "`repr()`, `str()`, `pprint`",
        "everything, to any depth",
        "one line: kind, length, the first four items, long ones cut; `to_python()` gives what can be printed whole",
        "a heap holds gigabytes, and a debugger prints what it meets",
    ),
    "kind": Difference(
        "the type of proxies, views and iterators",
        "`dict`, `list`, `tuple`, `dict_keys`, `list_iterator`",
        "`Dict`, `List`, `Tuple`, `DictKeys`, `SequenceIterator`; they are instances of `MutableMapping`, `MutableSequence`, "
        "`Sequence`, `KeysView` and `Iterator`, and match mapping and sequence patterns; as with classes written in Python, "
        "attributes of the classes can be set",
        "C code that is told a dict reads CPython's own layout",
    ),
    "construction": Difference(
        "making one",
        "`dict(...)`, `dict.fromkeys(...)`, `class C(dict)`",
        "`heap.dict(...)` of a mapping or pairs, without keyword arguments, `heap.dict().fromkeys(...)`, no subclasses",
        "a container belongs to a heap, and the heap knows three kinds",
    ),
    "list plus List": Difference(
        "`list + List`",
        "a list",
        "TypeError; `List + list` is a List, `list += List` grows the list, `[*a, *b]` takes any",
        "CPython has no reflected `+` for the right side that leaves `+=` of the left side alone",
    ),
    "sums": Difference(
        "`tuple + Tuple`, `dict | Dict`",
        "a tuple, a dict",
        "a Tuple, a Dict, of which all that was in the heap is shared",
        "the sum holds proxies; in the heap they are references",
    ),
    "cycles": Difference(
        "`==` of two graphs with cycles",
        "RecursionError",
        "False where anything else differs, RecursionError if nothing does",
        "the rest is compared first",
    ),
    "depth": Difference(
        "deep nesting",
        "RecursionError from a depth of about 1,000 on",
        "`==`, copies and `to_python()` to any depth; hashing a Tuple to 100",
        "walks keep a list of what is still to do; hashing recurses",
    ),
    "hostile comparisons": Difference(
        "a list that an element's `__eq__` changes while it is compared or searched",
        "`==` looks at the lengths once more; `remove` takes out what is in the place by then",
        "`==` says what it has read; `remove` raises ValueError if the element is there no more",
        "another thread may be the one that changed it",
    ),
    "sorting": Difference(
        "a list while it is sorted",
        "empty; ValueError if it was changed, and the change is lost; in some order if comparing failed",
        "whole; ValueError if it was changed, and the change stays; as it was if comparing failed",
        "another thread's change must not be lost",
    ),
    "layout": Difference(
        "a dict whose keys changed while it was iterated",
        "noticed when the number of keys differs, or more come than there were",
        "noticed then, and whenever the dict laid its entries out anew: `d.clear(); d.update(...)`",
        "a position would mean another entry",
    ),
    "pickle": Difference(
        "`pickle`",
        "the container itself; what two references share stays shared",
        "a plain dict, list or tuple; sharing and cycles stay within one proxy, while two proxies of one container become two; "
        "a Tuple has no `__getnewargs__`",
        "who loads it need not have the heap, nor subduct",
    ),
    "deepcopy": Difference(
        "`copy.deepcopy`",
        "shares what the whole graph shares",
        "copies each proxy by itself, into its heap",
        "the copy is made inside the heap",
    ),
    "json": Difference(
        "`json.dumps`, `UserDict | Dict` and other code that asks for a dict or list itself",
        "takes it",
        "TypeError; `json.dumps(x, default=lambda proxy: proxy.to_python())`, or pass `proxy.to_python()`",
        "it asks for the type, not for what it does",
    ),
    "size": Difference(
        "`sys.getsizeof`",
        "the object's bytes, without what it refers to",
        "the proxy's bytes and those of the container in the heap, its table or room for items included; without what it refers to",
        "it answers what the container costs",
    ),
    "cpython": Difference(
        "CPython's own affairs",
        "its collector tracks a container that holds others; a list made of ten items has room for ten",
        "its collector tracks each proxy, and sees nothing of what is in a heap; a list has room for an eighth more",
        "that is what heaps are for",
    ),
    "words": Difference(
        "messages about a wrong number of arguments",
        "CPython's",
        "PyO3's; the exception is the same",
        "no program depends on them",
    ),
}

# Tests of the standard library that do not pass on proxies, by suite, with the difference that is the reason.
_OF_SEQUENCES = {
    "test_contains_fake": "types",
    "test_contains_order": "types",
    "test_count": "types",
    "test_free_after_iterating": "construction",
    "test_index": "types",
    "test_repr": "repr",
}
_OF_LISTS = _OF_SEQUENCES | {
    "test_remove": "types",
    "test_repr_deep": "repr",
}
_OF_MAPPINGS = {
    "test_eq": "keys",
    "test_fromkeys": "construction",
    "test_getitem": "keys",
    "test_pop": "keys",
    "test_repr": "repr",
    "test_repr_deep": "repr",
    "test_setdefault": "keys",
}
EXCLUDED: dict[str, dict[str, str]] = {
    "test_list": _OF_LISTS
    | {
        "test_count_index_remove_crashes": "types",
        "test_equal_operator_modifying_operand": "types",
        "test_iterator_pickle": "kind",
        "test_keywords_in_subclass": "construction",
        "test_lt_operator_modifying_operand": "types",
        "test_repr_large": "repr",
        "test_reversed_pickle": "kind",
    },
    "test_userlist": _OF_LISTS | {"test_getitemoverwriteiter": "construction"},
    "test_tuple": _OF_SEQUENCES | {"test_iterator_pickle": "kind", "test_reversed_pickle": "kind"},
    "test_userdict": _OF_MAPPINGS,
    "test_dict": _OF_MAPPINGS
    | {
        "test_bad_key": "keys",
        "test_container_iterator": "keys",
        "test_copy_maintains_tracking": "keys",
        "test_dict_contain_use_after_free": "keys",
        "test_dict_copy_order": "construction",
        "test_dictitems_contains_use_after_free": "types",
        "test_equal_operator_modifying_operand": "keys",
        "test_errors_in_view_containment_check": "types",
        "test_free_after_iterating": "construction",
        "test_fromkeys_operator_modifying_dict_operand": "keys",
        "test_fromkeys_operator_modifying_set_operand": "keys",
        "test_init_use_after_free": "keys",
        "test_items": "repr",
        "test_keys": "repr",
        "test_merge_and_mutate": "keys",
        "test_missing": "construction",
        "test_mutating_lookup": "keys",
        "test_oob_indexing_dictiter_iternextitem": "types",
        "test_reentrant_insertion": "types",
        "test_resize2": "keys",
        "test_setdefault_atomic": "keys",
        "test_setitem_atomic_at_resize": "keys",
        "test_store_evilattr": "json",
        "test_str_nonstr": "keys",
        "test_track_dynamic": "cpython",
        "test_track_literals": "cpython",
        "test_values": "repr",
    },
    "test_dictviews": {
        "test_compare_error": "types",
        "test_constructors_not_callable": "kind",
        "test_deeply_nested_repr": "types",
        "test_dict_repr": "repr",
        "test_recursive_repr": "types",
    },
    "test_sort": {},
    "abc of dict": {},
    "abc of list": {"test_Sequence_mixins": "list plus List"},
    "abc of tuple": {},
}


def table() -> str:
    """Return the table of differences as the document has it."""
    rows = [("", "dict, list, tuple", "Dict, List, Tuple", "why"), ("---",) * 4]
    rows += [(each.about, each.builtin, each.proxy, each.why) for each in DIFFERENCES.values()]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows)


def excluded_table() -> str:
    """Return the table of excluded tests as the document has it: for each suite and difference, the tests."""
    lines = ["| suite | difference | tests |\n", "|---|---|---|\n"]
    for suite, tests in EXCLUDED.items():
        for key in DIFFERENCES:
            names = sorted(name for name, reason in tests.items() if reason == key)
            if names:
                lines.append(f"| {suite} | {DIFFERENCES[key].about} | {', '.join(f'`{name}`' for name in names)} |\n")
    return "".join(lines)
