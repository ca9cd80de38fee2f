"""What is no trace, and what a stranger could put into one."""

from __future__ import annotations

import json
import zlib

import h5py
import numpy as np
import pytest

from tfdiff.errors import Exit, TraceError
from tfdiff.model import Header, Site, StepInfo, Variable
from tfdiff.trace.guard import dataset
from tfdiff.trace.reader import open_trace
from tfdiff.trace.records import Record
from tfdiff.trace.schema import block_path
from tfdiff.trace.writer import TraceWriter

STEP = "/".join(block_path("steps", 0))


def refused(path, match, everything=None):
    """The one line with which the file is refused."""
    with pytest.raises(TraceError, match=match) as caught:
        (everything or open_trace)(path)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == Exit.TROUBLE
    return str(caught.value)


def test_missing(tmp_path):
    """A file that is not there is named."""
    assert "nowhere.h5" in refused(tmp_path / "nowhere.h5", "no such file")
    refused("nul\0byte.h5", "expected")


@pytest.mark.parametrize(
    "content", [b"", b"\x89", b"import tensorflow as tf\n" * 100, b"\x89HDF\r\n\x1a\n" + bytes(5000)]
)
def test_not_hdf5(tmp_path, content):
    """Text, nothing and a bare signature under the name .h5 are refused."""
    (tmp_path / "t.h5").write_bytes(content)
    refused(tmp_path / "t.h5", "expected a trace|expected an HDF5 file")


def test_folder(tmp_path):
    """A folder is refused."""
    refused(tmp_path, "no regular file")


def test_another_hdf5_file(tmp_path):
    """An HDF5 file that tfdiff did not write (Keras weights, say) is called that, whatever its attributes are."""
    for number, value in enumerate(
        (None, "tfdiff.trace.other", 7, ["tfdiff.trace"], np.bytes_("x" * 1000), h5py.Empty("S1"))
    ):
        with h5py.File(tmp_path / f"{number}.h5", "w") as file:
            file["x"] = 1
            if value is not None:
                file.attrs["format"] = value
        refused(tmp_path / f"{number}.h5", "another kind of HDF5 file")


def test_newer_version(sample):
    """A trace of a newer format is refused with the advice to update; one with a senseless version is damaged."""
    for version, match in (
        (b"2", "written by a newer tfdiff; update"),
        (b"17", "update"),
        (b"0", "damage"),
        (b"x", "damage"),
    ):
        with h5py.File(sample, "r+") as file:
            del file.attrs["version"]
            file.attrs["version"] = np.bytes_(version)
        refused(sample, match)
    with h5py.File(sample, "r+") as file:
        del file.attrs["version"]
    refused(sample, "damage")


def test_no_header(tmp_path):
    """A recording that ended before it began is told as that."""
    TraceWriter(tmp_path / "t.h5").close()
    refused(tmp_path / "t.h5", "expected a header")


def _external_link(group, name, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["secret"] = group[name][...]
    del group[name]
    group[name] = h5py.ExternalLink(str(folder / "other.h5"), "/secret")


def _soft_link(group, name, _):
    group.move(name, "elsewhere")
    group[name] = h5py.SoftLink(f"{group.name}/elsewhere")


def _external_storage(group, name, folder):
    values = group[name][...]
    del group[name]
    (folder / "raw").write_bytes(values.tobytes())
    external = [(str(folder / "raw"), 0, values.nbytes)]
    group.create_dataset(name, values.shape, values.dtype, external=external)


def _virtual(group, name, folder):
    values = group[name][...]
    with h5py.File(folder / "other.h5", "w") as other:
        other["secret"] = values
    del group[name]
    layout = h5py.VirtualLayout(values.shape, values.dtype)
    layout[...] = h5py.VirtualSource(str(folder / "other.h5"), "secret", values.shape, values.dtype)
    group.create_virtual_dataset(name, layout)


def _compressed(group, name, _):
    values = group[name][...]
    del group[name]
    group.create_dataset(name, data=values, compression="gzip")


def _other_dtype(group, name, _):
    values = group[name][...]
    del group[name]
    group[name] = values.astype("S8") if values.dtype.names is None else np.zeros(values.shape)


def _objects(group, name, _):
    del group[name]
    group.create_dataset(name, data=["text"], dtype=h5py.string_dtype())


def _references(group, name, _):
    del group[name]
    group.create_dataset(name, data=[group.ref], dtype=h5py.ref_dtype)


def _huge(group, name, _):
    dtype = group[name].dtype
    del group[name]
    group.create_dataset(name, (2**44,), dtype)


def _null(group, name, _):
    dtype = group[name].dtype
    del group[name]
    group[name] = h5py.Empty(dtype)


def _group(group, name, _):
    del group[name]
    group.create_group(name)


def _missing(group, name, _):
    del group[name]


LINKS = (_external_link, _soft_link, _external_storage, _virtual)
FORGERIES = (*LINKS, _compressed, _other_dtype, _objects, _references)


@pytest.mark.parametrize("name", ["head", "json", "index", "lists", "sketches", "data"])
@pytest.mark.parametrize("forge", [*FORGERIES, _huge, _null, _group, _missing])
def test_forged_parts(sample, tmp_path, everything, forge, name):
    """Whatever stands in the place of a plain dataset is not followed, even where it leads to the same bytes."""
    with h5py.File(sample, "r+") as file:
        forge(file[STEP], name, tmp_path)
    refused(sample, "damage", everything)


@pytest.mark.parametrize("forge", LINKS)
def test_forged_count(sample, tmp_path, forge):
    """The count of complete blocks is guarded like any other dataset."""
    with h5py.File(sample, "r+") as file:
        forge(file, "commit", tmp_path)
    refused(sample, "the count of its steps")


def test_forged_tree(sample, tmp_path, everything):
    """A tree that is a link into another file is not followed."""
    other = tmp_path / "other.h5"
    other.write_bytes(sample.read_bytes())
    with h5py.File(sample, "r+") as file:
        del file["steps"]
        file["steps"] = h5py.ExternalLink(str(other), "/steps")
    refused(sample, "link to elsewhere", everything)


def test_count_beyond_reason(sample):
    """A count that no trace can have is refused before anything is looped over."""
    with h5py.File(sample, "r+") as file:
        row = file["commit"][...]
        row[3] = 2**62
        row[-1] = zlib.crc32(row[:-1].tobytes())
        file["commit"][...] = row
    refused(sample, "more blocks")


def test_size_is_checked_before_reading(sample):
    """A dataset that claims more bytes than the file has is refused without an allocation."""
    with open_trace(sample) as trace:
        group = trace._files[0][STEP]
        with pytest.raises(ValueError, match="beyond the end"):
            dataset(group, "data", np.dtype("u1"), group["data"].id.get_offset() + 1)


def rewrite_json(path, tree, number, change):
    """Replaces a block's JSON, with correct checksums: what somebody who knows the format could do."""
    with h5py.File(path, "r+") as file:
        group = file["/".join(block_path(tree, number))]
        document = group["json"][...].tobytes()
        changed = np.frombuffer(change(document), np.uint8)
        del group["json"]
        group.create_dataset("json", data=changed)
        head = group["head"][...]
        head[4] = zlib.crc32(changed.tobytes())
        head[-1] = zlib.crc32(head[:-1].tobytes())
        group["head"][...] = head


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"kind": "header"}',
        b'{"kind": "header", "header": []}',
        b'{"kind": "header", "header": {"script": []}}',
        b'{"kind": "header", "header": {"script": "a", "arguments": "b", "versions": {}, "options": {}}}',
        b'{"kind": "variables", "variables": 3}',
        b'{"kind": "sites", "sites": [{"id": "0", "role": "input", "phase": "data", "op": ""}]}',
        b'{"kind": "sites", "sites": [{"id": 0, "role": "nonsense", "phase": "data", "op": ""}]}',
        b'{"kind": "end", "end": {"complete": true}}',
    ],
)
def test_forged_documents(sample, document):
    """JSON that is not what the types say is refused, not believed."""
    rewrite_json(sample, "documents", 0, lambda _: document)
    refused(sample, "damage")


def test_additions_of_a_later_tfdiff(sample, everything):
    """Unknown fields are left alone: the same version may learn to say more."""
    before = everything(sample)

    def add(document):
        changed = json.loads(document)
        changed["header"]["later"] = [1]
        return json.dumps(changed).encode()

    rewrite_json(sample, "documents", 0, add)
    assert everything(sample) == before


def test_control_characters(tmp_path):
    """Names lose what could move a terminal's cursor or turn its writing; other scripts than Latin stay."""
    evil = "a\x1b[31m\x07\x9b1m\u202eb\nc\tÄ日本\ud800\x7f"
    with TraceWriter(tmp_path / "t.h5") as writer:
        writer.header(Header(evil, (evil,), {evil: evil}, {evil: [evil]}))
        writer.variables([Variable(0, evil, (), "float32", trainable=True, kind=evil)])
        writer.step(StepInfo(0, ({evil: evil},)), [Record(Site(0, "loss", "loss", evil, layer=evil), np.array(0.0))])
    good = "a[31m1mb c Ä日本"
    with open_trace(tmp_path / "t.h5") as trace:
        assert trace.header == Header(good, (good,), {good: good}, {good: [good]})
        assert trace.variables[0].name == trace.sites[0].layer == trace.sites[0].op == good
        assert trace.step(0).info.optimizers == ({good: good},)
    with pytest.raises(TraceError) as caught:
        open_trace(tmp_path / "\x1b[2Jx.h5")
    assert "\x1b" not in str(caught.value)


def rewrite_index(path, field, value, row=0):
    """Changes a field of the first step's index, with correct checksums."""
    with h5py.File(path, "r+") as file:
        group = file[STEP]
        index, head = group["index"][...], group["head"][...]
        index[field][row] = value
        group["index"][...] = index
        head[5] = zlib.crc32(index.tobytes())
        head[-1] = zlib.crc32(head[:-1].tobytes())
        group["head"][...] = head


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("site", 99),
        ("site", -1),
        ("dtype", b"object"),
        ("dtype", b"float64"),
        ("dtype", b"\xff"),
        ("ndim", 0),
        ("ndim", 2**32 - 1),
        ("inputs", 1),
        ("inputs", 2**32 - 1),
        ("of", 50),
        ("of", -2),
        ("offset", 2**63),
        ("offset", 64),
        ("nbytes", 2**62),
        ("nbytes", 0),
        ("crc32", 1),
        ("sketch", -2),
        ("sketch", 2**31 - 1),
    ],
)
def test_forged_index(sample, everything, field, value):
    """An index that contradicts itself or its data is refused, even with correct checksums."""
    rewrite_index(sample, field, value)
    refused(sample, "damage", everything)


@pytest.mark.parametrize("row", [1, 2])
@pytest.mark.parametrize("start", [-1, 2, 10_000])
def test_forged_sketches(tmp_path, everything, row, start):
    """A sketch that is neither among the numbers nor to be made from a stored small array is refused."""
    path = tmp_path / "t.h5"
    site = Site(0, "activation", "forward", "Relu")
    sizes = ((300, True), (257, True), (20, False))
    with TraceWriter(path) as writer:
        writer.header(Header("a.py", (), {}, {}))
        writer.step(StepInfo(0), [Record(site, np.arange(size) / size, keep=keep) for size, keep in sizes])
    rewrite_index(path, "sketch", start if start != 2 else 256 + 256 + 20 - 1, row)
    refused(path, "damage", everything)
