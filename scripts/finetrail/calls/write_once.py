"""A file that is written once: whoever comes second, on any node, leaves it as the first one has made it."""

import contextlib
import errno
import os
from pathlib import Path

from finetrail.rows.artifacts import temporary_name

# What file systems without hard links answer.
NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


def write_once(path: Path, text: str) -> None:
    """Write a file, all of it at once, unless it is there.

    Raises:
        OSError: it cannot be written.
    """
    temporary = temporary_name(path)
    try:
        temporary.write_text(text, encoding="utf-8")
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        with contextlib.suppress(FileExistsError), path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    finally:
        temporary.unlink(missing_ok=True)
