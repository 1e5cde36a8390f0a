"""A folder seen through FUSE, that refuses what some file systems refuse: hard links, locks, folders to sync.

    python -m tests.faults.fuse FOLDER MOUNTPOINT REFUSED…

It speaks the kernel's protocol by itself (linux/fuse.h), one request at a time, until it is unmounted.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import wait_for

ROOT = Path(__file__).parents[2]
REFUSALS = {"link": errno.EPERM, "flock": errno.ENOLCK, "fsyncdir": errno.EINVAL}
"""What can be refused, and with which error."""

BIG_WRITES, FLOCK_LOCKS, LARGEST = 1 << 5, 1 << 10, 128 * 1024


class Served:
    """Requests of the kernel, answered from a folder."""

    def __init__(self, folder: str, refused: set[str]) -> None:
        self._paths = {1: folder}
        self._refused = refused
        self._last = 1

    def answer(self, request: bytes) -> bytes | None:
        """Return the answer to a request; None if it wants none."""
        _, code, unique, node = struct.unpack_from("<IIQQ", request)
        if code in (2, 36, 42):  # forget, interrupt
            return None
        content, error = b"", errno.ENOSYS
        if served := OPERATIONS.get(code):
            try:
                content, error = served(self, node, request[40:]), 0
            except OSError as failed:
                error = failed.errno or errno.EIO
        return struct.pack("<IiQ", 16 + len(content), -error, unique) + content

    def init(self, node: int, body: bytes) -> bytes:
        flags = BIG_WRITES | (FLOCK_LOCKS if "flock" in self._refused else 0)
        return struct.pack("<IIIIHHIIHHI28x", 7, 31, LARGEST, flags, 0, 0, LARGEST, 1, 0, 0, 0)

    def refuse(self, what: str) -> None:
        if what in self._refused:
            raise OSError(REFUSALS[what], os.strerror(REFUSALS[what]))

    # --- names --------------------------------------------------------------------------------------------

    def lookup(self, node: int, body: bytes) -> bytes:
        return self._entry(self._path(node, body))

    def mkdir(self, node: int, body: bytes) -> bytes:
        path, mode = self._path(node, body[8:]), struct.unpack_from("<I", body)[0]
        os.mkdir(path, mode)
        return self._entry(path)

    def create(self, node: int, body: bytes) -> bytes:
        flags, mode = struct.unpack_from("<II", body)
        path = self._path(node, body[16:])
        handle = os.open(path, flags & ~os.O_NOFOLLOW, mode)
        return self._entry(path) + struct.pack("<QII", handle, 0, 0)

    def unlink(self, node: int, body: bytes) -> bytes:
        os.unlink(self._path(node, body))
        return b""

    def rmdir(self, node: int, body: bytes) -> bytes:
        os.rmdir(self._path(node, body))
        return b""

    def link(self, node: int, body: bytes) -> bytes:
        self.refuse("link")
        path = self._path(node, body[8:])
        os.link(self._paths[struct.unpack_from("<Q", body)[0]], path)
        return self._entry(path)

    def rename(self, node: int, body: bytes) -> bytes:
        return self._rename(node, struct.unpack_from("<Q", body)[0], body[8:])

    def rename2(self, node: int, body: bytes) -> bytes:
        return self._rename(node, struct.unpack_from("<Q", body)[0], body[16:])

    def _rename(self, node: int, to: int, names: bytes) -> bytes:
        old, new = (os.fsdecode(name) for name in names.split(b"\0")[:2])
        source, target = f"{self._paths[node]}/{old}", f"{self._paths[to]}/{new}"
        os.rename(source, target)
        for number, path in self._paths.items():
            if path == source or path.startswith(f"{source}/"):
                self._paths[number] = target + path.removeprefix(source)
        return b""

    def _path(self, node: int, name: bytes) -> str:
        return f"{self._paths[node]}/{os.fsdecode(name.partition(bytes(1))[0])}"

    def _entry(self, path: str) -> bytes:
        attributes = _attributes(os.lstat(path))
        node = next((number for number, known in self._paths.items() if known == path), None)
        if node is None:
            node = self._last = self._last + 1
            self._paths[node] = path
        return struct.pack("<QQQQII", node, 0, 1, 1, 0, 0) + attributes  # to be kept for a second

    # --- content ------------------------------------------------------------------------------------------

    def getattr(self, node: int, body: bytes) -> bytes:
        flags, _, handle = struct.unpack_from("<IIQ", body)
        found = os.fstat(handle) if flags & 1 else os.lstat(self._paths[node])
        return struct.pack("<QII", 1, 0, 0) + _attributes(found)

    def setattr(self, node: int, body: bytes) -> bytes:
        valid, _, handle, size = struct.unpack_from("<IIQQ", body)
        atime, mtime, _, atime_ns, mtime_ns, _, mode = struct.unpack_from("<QQQIIII", body, 32)
        target = handle if valid & 64 else self._paths[node]
        if valid & 1:
            os.chmod(target, mode)
        if valid & 8:
            os.truncate(target, size)
        if valid & (128 | 256):  # to the time of now
            os.utime(target)
        elif valid & (16 | 32):
            os.utime(target, ns=(atime * 10**9 + atime_ns, mtime * 10**9 + mtime_ns))
        return self.getattr(node, struct.pack("<IIQ", 1 if valid & 64 else 0, 0, handle))

    def open(self, node: int, body: bytes) -> bytes:
        flags = struct.unpack_from("<I", body)[0] & ~(os.O_APPEND | os.O_NOFOLLOW)  # the kernel says where
        return struct.pack("<QII", os.open(self._paths[node], flags), 0, 0)

    def read(self, node: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        return os.pread(handle, size, offset)

    def write(self, node: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        return struct.pack("<II", os.pwrite(handle, body[40 : 40 + size], offset), 0)

    def fsync(self, node: int, body: bytes) -> bytes:
        os.fsync(struct.unpack_from("<Q", body)[0])
        return b""

    def fsyncdir(self, node: int, body: bytes) -> bytes:
        self.refuse("fsyncdir")
        return b""

    def release(self, node: int, body: bytes) -> bytes:
        os.close(struct.unpack_from("<Q", body)[0])
        return b""

    def lock(self, node: int, body: bytes) -> bytes:
        self.refuse("flock")
        raise OSError(errno.ENOSYS, "not served")

    def opendir(self, node: int, body: bytes) -> bytes:
        return bytes(16)

    def readdir(self, node: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        listed = b""
        for number, name in enumerate(map(os.fsencode, sorted(os.listdir(self._paths[node])))):
            entry = struct.pack("<QQII", 2**32 - 1, number + 1, len(name), 0) + name
            entry += bytes(-len(entry) % 8)
            if number >= offset and len(listed) + len(entry) <= size:
                listed += entry
        return listed

    def releasedir(self, node: int, body: bytes) -> bytes:
        return b""

    def statfs(self, node: int, body: bytes) -> bytes:
        found = os.statvfs(self._paths[node])
        sizes = (found.f_blocks, found.f_bfree, found.f_bavail, found.f_files, found.f_ffree)
        return struct.pack("<QQQQQIII28x", *sizes, found.f_bsize, found.f_namemax, found.f_frsize)


OPERATIONS: dict[int, Callable[[Served, int, bytes], bytes]] = {
    1: Served.lookup, 3: Served.getattr, 4: Served.setattr, 9: Served.mkdir, 10: Served.unlink, 11: Served.rmdir,
    12: Served.rename, 13: Served.link, 14: Served.open, 15: Served.read, 16: Served.write, 17: Served.statfs,
    18: Served.release, 20: Served.fsync, 26: Served.init, 27: Served.opendir, 28: Served.readdir,
    29: Served.releasedir, 30: Served.fsyncdir, 31: Served.lock, 32: Served.lock, 33: Served.lock,
    35: Served.create, 45: Served.rename2,
}  # fmt: skip


def _attributes(found: os.stat_result) -> bytes:
    times = (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns)
    return struct.pack(
        "<QQQQQQIIIIIIIIII", found.st_ino, found.st_size, found.st_blocks,
        *(time // 10**9 for time in times), *(time % 10**9 for time in times),
        found.st_mode, found.st_nlink, found.st_uid, found.st_gid, found.st_rdev, 4096, 0,
    )  # fmt: skip


def serve(folder: str, mountpoint: str, refused: set[str]) -> None:
    """Mount a folder and answer until it is unmounted."""
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    if ctypes.CDLL(None, use_errno=True).mount(b"emma-tune-test", mountpoint.encode(), b"fuse", 0, options):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    served = Served(folder, refused)
    while True:
        try:
            request = os.read(device, LARGEST + 4096)
        except OSError as error:
            if error.errno == errno.ENODEV:  # unmounted
                return
            if error.errno in (errno.ENOENT, errno.EINTR):  # interrupted while it was read
                continue
            raise
        if (answer := served.answer(request)) is not None:
            try:
                os.write(device, answer)
            except FileNotFoundError:  # who asked was interrupted
                continue


@contextmanager
def refusing(folder: Path, *refused: str) -> Iterator[Path]:
    """Mount a file system that refuses these; yield where."""
    behind, mountpoint = folder / "served", folder / "mounted"
    behind.mkdir()
    mountpoint.mkdir()
    command = [sys.executable, "-m", "tests.faults.fuse", str(behind), str(mountpoint), *refused]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        wait_for(lambda: os.path.ismount(mountpoint), what="the mount")
        yield mountpoint
    finally:
        process.terminate()  # with it goes the connection, whatever is still open
        process.wait(timeout=20)
        subprocess.run(["umount", "-l", mountpoint], check=False)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], set(sys.argv[3:]))
