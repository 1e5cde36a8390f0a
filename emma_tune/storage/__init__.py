"""Where files are kept: a folder of a disk, or a prefix of an object store, with the same promises.

`storage_at` opens either. A file appears whole or not at all, a folder is committed once, a log only grows, and
one process at a time holds a claim; `tests/storage/` holds both kinds to it.
"""

from pathlib import Path

from emma_tune.storage.patience import IMPATIENT, Patience, passes
from emma_tune.storage.places import Place, as_place, inside, is_local
from emma_tune.storage.storage import Claim, HeldError, Log, OutOfSightError, Storage

__all__ = [
    "IMPATIENT", "Claim", "HeldError", "Log", "OutOfSightError", "Patience", "Place", "Storage",
    "as_place", "inside", "is_local", "passes", "storage_at",
]  # fmt: skip


def storage_at(root: Place, patience: Patience = IMPATIENT) -> Storage:
    """The storage under a place.

    Args:
        root: a folder, or the URL of a prefix; made when first written to.
        patience: how long a call that fails for the moment is tried again.
    """
    if isinstance(root, Path):
        from emma_tune.storage.disk import Disk

        return Disk(root, patience)
    from emma_tune.storage.objects import ObjectStore

    return ObjectStore(root, patience)
