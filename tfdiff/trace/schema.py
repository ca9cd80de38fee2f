"""The trace format: one constant from which the code, the page in ARCHITECTURE.md and the version history are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Attribute:
    """An attribute of the root group."""

    name: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Part:
    """A dataset; contiguous, without filters, little-endian."""

    name: str
    dtype: str
    shape: str
    meaning: str


@dataclass(frozen=True)
class Column:
    """A field of the index, or a slot of a counted row."""

    name: str
    dtype: str
    meaning: str


@dataclass(frozen=True)
class Schema:
    """Everything that defines a version of the format."""

    format: str
    version: int
    history: tuple[tuple[int, str], ...]
    attributes: tuple[Attribute, ...]
    commit: tuple[Column, ...]
    trees: tuple[tuple[str, str], ...]
    parts: tuple[Part, ...]
    head: tuple[Column, ...]
    index: tuple[Column, ...]
    documents: tuple[tuple[str, str], ...]
    dtypes: tuple[tuple[str, str], ...]


SCHEMA = Schema(
    format="tfdiff.trace",
    version=1,
    history=((1, "The first one."),),
    # Text attributes of the root group: they are looked at before anything else is.
    attributes=(
        Attribute("format", "tfdiff.trace", "says that the file is ours"),
        Attribute("version", "1", "decimal; a reader refuses a higher one"),
    ),
    # /commit, uint64: what is complete. It is written after the data it counts was flushed, in one small write.
    commit=(
        Column("steps", "<u8", "complete blocks in /steps"),
        Column("initial", "<u8", "complete blocks in /initial"),
        Column("own", "<u8", "complete blocks in /own"),
        Column("documents", "<u8", "complete blocks in /documents"),
        Column("crc32", "<u8", "CRC-32 of the 32 bytes before it"),
    ),
    # Block n of a tree lies at TREE/d/d/.../d: n in base 4, ten digits. A group with at most four short links fits into
    # one object header, so adding a block changes one place of the old file, and a killed writer leaves no torn tree.
    trees=(
        ("steps", "one block per training step"),
        ("initial", "values of the variables before step 0 as the run used them (after sharing)"),
        ("own", "the same values before sharing replaced them"),
        (
            "documents",
            "JSON of the run: header, variables, sites, row hashes, count of evals, noise, observer, settings, end",
        ),
        ("evals", "one block per evaluation or prediction pass; missing in older files, counted in a document"),
        ("isolated", "one block per step of the isolated pass; missing in older files, counted in a document"),
    ),
    # A block is a group of these; a document has only head, json and data.
    parts=(
        Part("head", "<u8", "[9]", "sizes and checksums of the other parts, see below"),
        Part("json", "u1", "[bytes]", "UTF-8 JSON: the step's or pass's information, or the document"),
        Part("index", "(index)", "[n]", "one row per observation, in the order of execution"),
        Part("lists", "<i8", "[m]", "per observation its shape, then the indices of its inputs (-1: unknown)"),
        Part(
            "sketches",
            "<f4",
            "[k]",
            "sketches, equal ones once: 256 sums each (see trace/sketch.py), or up to 256 numbers of a tensor that has "
            "no more (0 for NaN and infinities; complex ones are pairs)",
        ),
        Part("data", "u1", "[bytes]", "the stored arrays, C order, equal ones once, each at a multiple of 8"),
    ),
    head=(
        Column("tree", "<u8", "position of the block's tree in the table of trees"),
        Column("number", "<u8", "number of the block in its tree"),
        Column("bytes", "<u8", "length of data"),
        Column("rows", "<u8", "n"),
        Column("json", "<u8", "CRC-32 of json"),
        Column("index", "<u8", "CRC-32 of index"),
        Column("lists", "<u8", "CRC-32 of lists"),
        Column("sketches", "<u8", "CRC-32 of sketches"),
        Column("crc32", "<u8", "CRC-32 of the 64 bytes before it"),
    ),
    index=(
        Column("site", "<i4", "id of the site"),
        Column("dtype", "S16", "name of the tensor's dtype"),
        Column("ndim", "<u4", "number of dimensions (their extents stand in lists)"),
        Column("inputs", "<u4", "number of inputs (they stand in lists behind the extents)"),
        Column("of", "<i4", "index of the activation whose gradient this is, else -1"),
        Column("stored", "u1", "1: the array is in data; 0: statistics and sketch only"),
        Column("offset", "<u8", "where the array begins in data"),
        Column("nbytes", "<u8", "its length there; 0 when not stored"),
        Column("crc32", "<u4", "CRC-32 of these bytes"),
        Column("sketch", "<i4", "where its sketch begins in sketches; -1: made from the array, of at most 256 numbers"),
        Column("minimum", "<f8", "statistics, of the finite elements; of complex numbers, of their magnitudes"),
        Column("maximum", "<f8", ""),
        Column("mean", "<f8", ""),
        Column("norm", "<f8", "square root of the sum of squares"),
        Column("zeros", "<u8", "number of elements equal to 0"),
        Column("nans", "<u8", "number of NaN"),
        Column("infs", "<u8", "number of infinite elements"),
    ),
    # json = {"kind": KIND, ...}; of header, evals, isolation and end the last one holds, variables and sites are merged
    # by index and id. A kind that a reader does not know is left alone: so /evals and /isolated came without a new
    # version, and a tfdiff that knows nothing of them opens such a file as one without. (Hence the sites of /isolated
    # stand in its own document: they have a role that such a tfdiff would refuse.)
    documents=(
        ("header", 'one `Header` in "header"'),
        ("variables", 'a list of `Variable` in "variables"'),
        ("sites", 'a list of `Site` in "sites"; committed with the first step that has them'),
        (
            "rows",
            (
                'a list in "sources": `RowSource` in "source", number of its "hashes"; '
                'a list in "batches": number of hashes of each step; data holds all, with "crc32"'
            ),
        ),
        ("evals", 'number of complete blocks in /evals in "count"; without one there are none'),
        (
            "configurations",
            'a list of `Configuration` in "configurations": how layers, losses and optimizers were set up',
        ),
        (
            "noise",
            (
                'how far values move when the weights move by one ulp: "steps" has the number of observations of each '
                'measured step, "updates" per "variable" the "errors" of what each step changed it by, "why" the '
                "reason where not all are measured; data holds the relative errors of the observations as `<f4`, step "
                'by step (NaN: unknown), with "crc32"'
            ),
        ),
        (
            "observer",
            'one `Observed` in "observed": whether a run that was not recorded ended alike',
        ),
        ("end", 'one `End` in "end"; missing when the writer was killed'),
        (
            "isolation",
            (
                'one `Isolated` in "isolation", with the number of complete blocks in /isolated; '
                'a list of the `Site` that only these have in "sites"'
            ),
        ),
    ),
    # Name of a dtype and how its elements are stored; the last ones widened to float32, which holds all their values.
    dtypes=(
        ("bool", "bool"),
        ("int8", "i1"),
        ("int16", "<i2"),
        ("int32", "<i4"),
        ("int64", "<i8"),
        ("uint8", "u1"),
        ("uint16", "<u2"),
        ("uint32", "<u4"),
        ("uint64", "<u8"),
        ("float16", "<f2"),
        ("float32", "<f4"),
        ("float64", "<f8"),
        ("complex64", "<c8"),
        ("complex128", "<c16"),
        ("bfloat16", "<u2"),
        ("float8_e4m3fn", "<f4"),
        ("float8_e4m3fnuz", "<f4"),
        ("float8_e4m3b11fnuz", "<f4"),
        ("float8_e5m2", "<f4"),
        ("float8_e5m2fnuz", "<f4"),
        ("int2", "<f4"),
        ("uint2", "<f4"),
        ("int4", "<f4"),
        ("uint4", "<f4"),
    ),
)

INDEX_DTYPE = np.dtype([(column.name, column.dtype) for column in SCHEMA.index])
STORED_AS = {name: np.dtype(stored) for name, stored in SCHEMA.dtypes}
TREES = tuple(name for name, _ in SCHEMA.trees)
COUNTED = TREES[: len(SCHEMA.commit) - 1]
"""Trees whose complete blocks /commit counts."""
BUCKETS = 256
ALIGNMENT = 8
DIGITS = 10
BASE = 4
MOST_BLOCKS = BASE**DIGITS


def block_path(tree: str, number: int) -> tuple[str, ...]:
    """Names of the groups from the root down to block `number` of `tree`."""
    digits = []
    for _ in range(DIGITS):
        number, digit = divmod(number, BASE)
        digits.append(str(digit))
    return (tree, *reversed(digits))


def _table(title: str, head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    lines = [title, "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows), ""]


def _columns(title: str, columns: tuple[Column, ...]) -> list[str]:
    return _table(title, ("name", "dtype", "meaning"), [(f"`{c.name}`", f"`{c.dtype}`", c.meaning) for c in columns])


def markdown() -> str:
    """The format as Markdown, for ARCHITECTURE.md (a test holds the page to it)."""
    attributes = [(f"`{a.name}`", f"`{a.value}`", a.meaning) for a in SCHEMA.attributes]
    parts = [(f"`{p.name}`", f"`{p.dtype}`", p.shape, p.meaning) for p in SCHEMA.parts]
    trees = f"Trees of blocks (block n: `TREE/d/.../d`, n in base {BASE}, {DIGITS} digits):"
    kind = "one HDF5 file with the superblock of HDF5 1.8, contiguous datasets, no filters, hard links only"
    lines = [
        f"`{SCHEMA.format}`, version {SCHEMA.version}: {kind}.",
        "",
        *_table("Attributes of the root group:", ("attribute", "value", "meaning"), attributes),
        *_columns("`/commit` (what is complete; written after everything it counts was flushed):", SCHEMA.commit),
        *_table(trees, ("tree", "holds"), [(f"`/{name}`", meaning) for name, meaning in SCHEMA.trees]),
        *_table("A block is a group of:", ("dataset", "dtype", "shape", "meaning"), parts),
        *_columns("`head`:", SCHEMA.head),
        *_columns("A row of `index`:", SCHEMA.index),
        *_table(
            "Documents (fields that have their default in tfdiff/model.py are left out):",
            ("kind", "json"),
            [(f"`{kind}`", text) for kind, text in SCHEMA.documents],
        ),
        "Dtypes and how they are stored: "
        + ", ".join(f"`{name}` {stored.strip('<')}" for name, stored in SCHEMA.dtypes)
        + ".",
        "",
        "Versions:",
        "",
        *(f"- {version}: {change}" for version, change in SCHEMA.history),
    ]
    return "\n".join(lines) + "\n"
