"""Files on a disk or in an object store, with the same promises: artifacts, unfinished states, logs, locks.

A file appears whole or not at all, a folder is committed once, a log only grows, and one process at a time holds a
claim; `tests/storage/` checks it for both. Nothing here knows a stage, a study or Ray.
"""

from pathlib import Path

from emma_tune.storage.patience import IMPATIENT, Patience, passes
from emma_tune.storage.places import Place, absolute, as_place, inside, is_local
from emma_tune.storage.storage import Claim, HeldError, Log, OutOfSightError, Storage

__all__ = [
    "IMPATIENT", "Claim", "HeldError", "Log", "OutOfSightError", "Patience", "Place", "Storage",
    "absolute", "as_place", "inside", "is_local", "passes", "storage_at",
]  # fmt: skip


def storage_at(root: Place, patience: Patience = IMPATIENT) -> Storage:
    """Open the storage under a folder or URL, which is made when first written to."""
    if isinstance(root, Path):
        from emma_tune.storage.disk import Disk

        return Disk(root, patience)
    from emma_tune.storage.objects import ObjectStore

    return ObjectStore(root, patience)
