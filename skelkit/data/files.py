"""Output files that appear whole or not at all, whatever the disk does."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from skelkit.errors import OutputError


def output_error(error: OSError, path: Path) -> OutputError:
    """The sentence for a failed write to `path`."""
    fields = {"path": path, "errno": error.errno}
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        try:
            free = f"{shutil.disk_usage(path.parent).free / 2**20:.1f} MiB are free there"
        except OSError:
            free = "how much is free there cannot be told"
        return OutputError(
            f"cannot write {path}: the disk or your quota is full ({free}); nothing was written under this "
            "name; free some space or choose another folder, then run again",
            **fields,
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OutputError(
            f"cannot write {path}: no permission to write in {path.parent}; choose another folder", **fields
        )
    if error.errno == errno.ENOENT:
        return OutputError(
            f"cannot write {path}: there is no folder {path.parent}; create it first", **fields
        )
    return OutputError(f"cannot write {path}: {error.strerror or error}", **fields)


class AtomicFile:
    """A file under a temporary name in the same folder that takes its own name on `commit`.

    As a context manager: commits on clean exit, discards on an exception.

    Raises:
        OutputError: from every method, where the operating system refuses.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            raise OutputError(f"cannot write {self.path}: it is a folder; name a file", path=self.path)
        self._temporary = self.path.parent / f".skelkit-{os.getpid()}-{secrets.token_hex(4)}.part"
        try:
            self._fd = os.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise output_error(error, self.path) from error

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Put all of `data` at `offset`."""
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(self._fd, view, offset)
                view, offset = view[written:], offset + written
        except OSError as error:
            raise output_error(error, self.path) from error

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`."""
        try:
            return os.pread(self._fd, size, offset)
        except OSError as error:
            raise output_error(error, self.path) from error

    def truncate(self, size: int) -> None:
        """Cut or extend to `size`."""
        try:
            os.ftruncate(self._fd, size)
        except OSError as error:
            raise output_error(error, self.path) from error

    def commit(self) -> None:
        """Bring everything to the disk, then take the name."""
        try:
            os.fsync(self._fd)
            self._close()
            self._temporary.replace(self.path)
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            self.discard()
            raise output_error(error, self.path) from error

    def discard(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(OSError):  # there is nothing left to save, and a first error to report
            self._close()
        with contextlib.suppress(OSError):
            self._temporary.unlink()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()


class WriteBehind(io.RawIOBase):
    """The file as HDF5 sees it: writes stay in memory until `flush_to_disk`.

    HDF5 cannot let go of a file whose writes fail: closing fails too, and the interpreter crashes at its
    end. So it never learns of a full disk: its writes always succeed, and what the disk says is heard
    outside HDF5, where it is an ordinary exception.
    """

    def __init__(self, file: AtomicFile) -> None:
        super().__init__()
        self._file = file
        self._pending: list[tuple[int, bytes]] = []
        self._position = 0
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes of the file, pending ones included."""
        return self._size

    def flush_to_disk(self) -> None:
        """Write what is pending.

        Raises:
            OutputError: the disk refuses; the file can only be discarded then.
        """
        for offset, data in self._pending:
            self._file.write_at(offset, data)
        self._file.truncate(self._size)
        self._pending.clear()

    def write(self, data: memoryview) -> int:  # type: ignore[override]  # HDF5 hands over memoryviews only
        """Keep a copy of `data`."""
        self._pending.append((self._position, bytes(data)))
        self._position += len(data)
        self._size = max(self._size, self._position)
        return len(data)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """What the disk holds, with the pending writes laid over it in their order."""
        start, size = self._position, len(buffer)
        data = bytearray(self._file.read_at(start, size).ljust(size, b"\0"))
        for offset, piece in self._pending:
            low, high = max(offset, start), min(offset + len(piece), start + size)
            if low < high:
                data[low - start : high - start] = piece[low - offset : high - offset]
        buffer[:] = data
        self._position += size
        return size

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Absolute, or from the end."""
        self._position = offset + (self._size if whence == os.SEEK_END else 0)
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def truncate(self, size: int | None = None) -> int:
        """Set the size."""
        self._size = self._position if size is None else size
        return self._size

    def flush(self) -> None:
        """HDF5's flush: nothing to do, the disk's turn comes in `flush_to_disk`."""
