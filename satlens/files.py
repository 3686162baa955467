"""Files that are whole or not there: write beside, fsync, rename.

A reader never sees half a file, and an error or Ctrl-C in the middle leaves the old file as it was.
"""

import contextlib
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from satlens.errors import OutputError


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Generator[Path, None, None]:
    """A path beside ``path`` to write to; on a clean exit it takes the place of ``path``.

    On any error inside the block the file beside is removed and ``path`` is left as it was. Missing
    parent folders are made. The name beside keeps the ending, for writers that look at it.

    Raises:
        OutputError: the folder or the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     target = Path(folder, "a.txt")
        ...     with whole_file(target) as beside:
        ...         _ = beside.write_text("all of it")
        ...     target.read_text(), len(list(target.parent.iterdir()))
        ('all of it', 1)
    """
    target = Path(path)
    if target.is_dir():
        raise OutputError(
            f"Asked to write the file {target}; a folder of that name is in its place."
        )
    beside = _name_beside(target)
    try:
        yield beside
        _flush(beside)
        os.replace(beside, target)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"Could not write {target}: {error.strerror or error}.") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
    _flush(target.parent)


def write_whole(path: str | os.PathLike[str], data: str | bytes) -> Path:
    """Write ``data`` (text as UTF-8) to ``path``, complete or not at all; returns the path.

    Raises:
        OutputError: the folder or the file cannot be written.
    """
    raw = data.encode("utf-8") if isinstance(data, str) else data
    with whole_file(path) as beside:
        beside.write_bytes(raw)
    return Path(path)


def _name_beside(target: Path) -> Path:
    """A fresh empty file in the folder of ``target``, with the rights any new file would get."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{target.stem}.", suffix=f".part{target.suffix}", dir=target.parent
        )
    except OSError as error:
        raise OutputError(
            f"Could not write beside {target}: {error.strerror or error}. Check the folder."
        ) from error
    os.close(handle)
    # mkstemp makes files only the owner can read; a result is meant to be shared.
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(name, 0o666 & ~umask)
    return Path(name)


def _flush(path: Path) -> None:
    """Ask the system to put a file or a folder on disk (folders cannot be opened everywhere)."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        if path.is_dir():
            return
        raise
    try:
        os.fsync(handle)
    except OSError:
        if not path.is_dir():
            raise
    finally:
        os.close(handle)
