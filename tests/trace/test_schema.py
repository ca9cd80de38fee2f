"""The schema constant is the format."""

from __future__ import annotations

import h5py
import numpy as np

from tfdiff.trace.schema import INDEX_DTYPE, SCHEMA, TREES, block_path, markdown


def test_file_is_as_the_schema_says(sample):
    """A real file has the attributes, trees, datasets and dtypes of the constant, and no others."""
    with h5py.File(sample) as file:
        assert {name: value.decode() for name, value in file.attrs.items()} == {
            a.name: a.value for a in SCHEMA.attributes
        }
        assert set(file) == {"commit", *TREES}
        assert file["commit"].shape == (len(SCHEMA.commit),)
        group = file["/".join(block_path("steps", 2))]
        assert set(group) == {part.name for part in SCHEMA.parts}
        for part in SCHEMA.parts:
            assert group[part.name].dtype == (INDEX_DTYPE if part.dtype == "(index)" else np.dtype(part.dtype))
            assert group[part.name].chunks is None
        assert group["head"].shape == (len(SCHEMA.head),)
        assert group["data"].dtype == np.uint8


def test_history_ends_with_the_version():
    """The version of the format is the last one of its history, and the one in the file."""
    assert SCHEMA.history[-1][0] == SCHEMA.version
    assert {a.name: a.value for a in SCHEMA.attributes} == {"format": SCHEMA.format, "version": str(SCHEMA.version)}


def test_markdown_has_everything():
    """The page names every dataset, column, document and dtype, in tables that are tables."""
    page = markdown()
    columns = (*SCHEMA.commit, *SCHEMA.head, *SCHEMA.index, *SCHEMA.parts)
    names = [column.name for column in columns] + [name for name, _ in (*SCHEMA.documents, *SCHEMA.dtypes)]
    assert [name for name in names if f"`{name}`" not in page] == []
    tables = [block for block in page.split("\n\n") if block.startswith("|")]
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_block_paths():
    """Every block has a path of its own, in an order that is the order of the numbers."""
    paths = [block_path("steps", number) for number in range(300)]
    assert len(set(paths)) == 300
    assert paths == sorted(paths)
