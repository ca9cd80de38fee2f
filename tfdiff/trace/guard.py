"""The only door to a trace file: what is looked at before HDF5 may follow it.

A trace may come from a stranger or a broken disk. Only hard links are followed, only contiguous datasets without
filters and external files are read, only with the dtype the schema names, and only where their declared bytes lie
inside the file.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from tfdiff.errors import TfdiffError, TraceError
from tfdiff.trace.codec import clean
from tfdiff.trace.schema import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MOST_TEXT = 64
_BROKEN = (OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError, MemoryError, SystemError)


def shown(path: Path | str) -> str:
    """A file's name for a message."""
    return clean(str(path))


@contextmanager
def damage(path: Path, what: str) -> Iterator[None]:
    """Turns whatever h5py raises over a damaged file into one line."""
    try:
        yield
    except TfdiffError:
        raise
    except _BROKEN as error:
        # HDF5's own reason stands in the last parentheses.
        inner = re.search(r"\((.*)\)$", str(error))
        reason = clean(inner[1] if inner else str(error))[:120] or type(error).__name__
        raise damaged(path, what, reason) from None


def damaged(path: Path, what: str, reason: str) -> TraceError:
    """The error for a file that begins like a trace and then does not hold."""
    return TraceError(
        f"{shown(path)}: expected {what}, found damage ({reason}); record it again or get an unbroken copy"
    )


def open_file(path: Path) -> h5py.File:
    """The file, open for reading, after its signature, format and version were checked; raises TraceError."""
    _check_signature(path)
    with damage(path, "an HDF5 file"):
        # A trace that is still being written may be read: blocks are committed after they were flushed.
        file = h5py.File(path, "r", locking=False)
    try:
        with damage(path, "a format and a version"):
            _check_version(path, file)
    except BaseException:
        file.close()
        raise
    return file


def _check_signature(path: Path) -> None:
    advice = "give a file that `tfdiff record` wrote"
    try:
        if not path.exists():
            raise TraceError(f"{shown(path)}: expected a trace, found no such file; {advice}")
        if not path.is_file():
            raise TraceError(f"{shown(path)}: expected a trace, found something that is no regular file; {advice}")
        with path.open("rb") as stream:
            start = stream.read(len(SIGNATURE))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TraceError(
            f"{shown(path)}: expected a readable trace, found: {clean(reason)}; check name and rights"
        ) from None
    if start != SIGNATURE:
        found = "an empty file" if not start else "a file that is not HDF5"
        raise TraceError(f"{shown(path)}: expected a trace, found {found}; {advice}")


def _check_version(path: Path, file: h5py.File) -> None:
    format_name, version = (_attribute(file, name) for name in ("format", "version"))
    if format_name != SCHEMA.format:
        raise TraceError(
            f"{shown(path)}: expected a trace ({SCHEMA.format}), found another kind of HDF5 file; "
            "give a file that `tfdiff record` wrote"
        )
    if version is None or not version.isdecimal() or not version.isascii() or int(version) < 1:
        raise damaged(path, "a format version", f"version {version!r}")
    if int(version) > SCHEMA.version:
        raise TraceError(
            f"{shown(path)}: expected format version {SCHEMA.version}, found {int(version)}: "
            "written by a newer tfdiff; update tfdiff"
        )


def _attribute(file: h5py.File, name: str) -> str | None:
    """A short fixed-length text attribute; anything else is None."""
    encoded = name.encode()
    if not h5py.h5a.exists(file.id, encoded):
        return None
    attribute = h5py.h5a.open(file.id, encoded)
    kind = attribute.dtype
    if attribute.shape != () or kind.kind != "S" or kind.itemsize > _MOST_TEXT:
        return None
    value = np.empty((), kind)
    attribute.read(value)
    return bytes(value[()]).decode("ascii", "replace")


def descend(file: h5py.File, names: Sequence[str]) -> h5py.Group:
    """The group at the end of hard links; raises KeyError or TraceError."""
    group: Any = file
    for name in names:
        group = _child(group, name)
        if not isinstance(group, h5py.Group):
            raise TypeError(f"{name} is no group")
    return group


def dataset(group: h5py.Group, name: str, dtype: np.dtype[Any], limit: int) -> h5py.Dataset:
    """A plain dataset inside the file's `limit` bytes; raises ValueError where it is anything else."""
    found = _child(group, name)
    if not isinstance(found, h5py.Dataset):
        raise TypeError(f"{name} is no dataset")
    plist = found.id.get_create_plist()
    if plist.get_layout() != h5py.h5d.CONTIGUOUS or plist.get_external_count() or plist.get_nfilters():
        raise ValueError(f"{name} is not stored as a plain block")
    if found.dtype != dtype or found.shape is None:
        raise ValueError(f"{name} has another dtype")
    if found.size:
        offset = found.id.get_offset()
        # Declared but never written data would be read as zeros, and could be declared as large as one likes.
        if offset is None or found.id.get_storage_size() != found.size * dtype.itemsize:
            raise ValueError(f"{name} is incomplete")
        if offset + found.size * dtype.itemsize > limit:
            raise ValueError(f"{name} reaches beyond the end of the file")
    return found


def read(group: h5py.Group, name: str, dtype: np.dtype[Any], limit: int) -> npt.NDArray[Any]:
    """All of a plain dataset."""
    return np.asarray(dataset(group, name, dtype, limit)[...])


def _child(group: h5py.Group, name: str) -> Any:
    encoded = name.encode()
    if group.id.links.get_info(encoded).type != h5py.h5l.TYPE_HARD:
        raise ValueError(f"{name} is a link to elsewhere")
    kind = h5py.h5o.get_info(group.id, encoded).type
    if kind == h5py.h5o.TYPE_GROUP:
        return h5py.Group(h5py.h5g.open(group.id, encoded))
    if kind == h5py.h5o.TYPE_DATASET:
        return h5py.Dataset(h5py.h5d.open(group.id, encoded))
    raise TypeError(f"{name} is neither a group nor a dataset")
