"""Documents of a source in a heap, threads that change them, and the check that nothing was damaged meanwhile."""

from subduct.churn.canonical import canonical
from subduct.churn.churn import Churn, ThreadsError
from subduct.churn.operations import DamageError
from subduct.churn.store import DocumentStore

__all__ = ["Churn", "DamageError", "DocumentStore", "ThreadsError", "canonical"]
