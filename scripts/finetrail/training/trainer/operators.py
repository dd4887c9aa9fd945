"""DeepSpeed's operators, which torch compiles on their first use: what a process that died over it left behind."""

import logging
import os
import time
from pathlib import Path

CHANGES_NO_RESULT = "It removes locks that dead processes left in a cache; what is compiled there stays as it is."
STALE_SECONDS = 900.0
"""Nothing that compiles is silent for so long: the longest operator takes three minutes."""

logger = logging.getLogger(__name__)


def operators_folder() -> Path:
    """Return where torch keeps what it compiles."""
    named = os.environ.get("TORCH_EXTENSIONS_DIR")
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(named) if named else Path(caches) / "torch_extensions"


def drop_stale_locks(folder: Path) -> None:
    """Remove the locks of processes that died while they compiled; torch would wait for them for ever.

    A lock is an empty file that names nobody. It counts as left behind when nothing beside it has changed for
    `STALE_SECONDS`; a younger one is waited for, and said to be.

    Args:
        folder: from `operators_folder`; it may lack.
    """
    for lock in (path for pattern in ("*/lock", "*/*/lock") for path in sorted(folder.glob(pattern))):
        try:
            silent = time.time() - max(path.stat().st_mtime for path in lock.parent.iterdir())
        except FileNotFoundError:  # whoever compiles is being done
            continue
        if silent < STALE_SECONDS:
            logger.warning("%s: another process compiles this operator, or died over it: waiting", lock.parent)
            continue
        logger.warning("%s: left by a process that died %d minutes ago: removed", lock, silent // 60)
        lock.unlink(missing_ok=True)
