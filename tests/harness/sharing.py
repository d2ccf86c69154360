"""How the tests are shared out to processes: one by one, but some files whole."""

from xdist.scheduler import LoadScopeScheduling

# Their tests share what is made once, or need gigabytes each.
WHOLE_FILES = frozenset(
    {
        "tests/bench/test_command.py",
        "tests/model/test_differential.py",
        "tests/test_large.py",
        "tests/test_peers.py",
    }
)


class Sharing(LoadScopeScheduling):  # type: ignore[misc] # it has no types
    """Whole files first, since they last longest; then test by test, to whoever has nothing to do."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = nodeid.partition("::")[0]
        return file if file in WHOLE_FILES else nodeid
