"""One run at a time in one folder.

The lock is the system's own (`flock`), on a file that says who has it: it goes with the process, however that
ends, so that a killed run never has to be cleaned up after.
"""

import errno
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from satlens.errors import OutputError
from satlens.survey.store import LOCK

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


@contextmanager
def locked(out: Path) -> Generator[None, None, None]:
    """The folder (made where it is missing) for this process alone.

    Raises:
        OutputError: another run has it, or it cannot be written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"Could not write to --out {out}: {error.strerror or error}.") from error
    with file:
        _take(file, out)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _take(file: IO[str], out: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            return  # a file system without locks: nothing can be said
        file.seek(0)
        raise OutputError(
            f"--out {out} is being written by another run ({file.read() or 'unknown'}). Wait for it, stop "
            "it, or give another folder."
        ) from error
