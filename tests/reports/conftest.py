"""Hand-built results: the reports are functions, so they need no trace."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from tfdiff.model import Cause, Cell, Divergence, Header, Place, Result, Row, Site

if TYPE_CHECKING:
    from collections.abc import Callable

A = Place("dropout", "sequential/dropout", "a.py:14", "a.py:31", "SelectV2")
B = Place(None, "tf.nn.dropout#1", "b.py:41", "b.py:41", "SelectV2")


def header(script: str) -> Header:
    """What a trace says of its run."""
    return Header(script, (), {"python": "3.11.7", "tensorflow": "2.21.0"}, {"steps": 10})


def row(a: Site | None, b: Site | None) -> Row:
    """A row of one cell, equal where both sides are there."""
    return Row(
        "update",
        a,
        b,
        a.name if a else "",
        b.name if b else "",
        "weight" if a and b else "",
        (Cell("equal" if a and b else "unpaired", 0.0, 1e-6),),
    )


def weight(index: int, layer: str) -> Site:
    """The site of a weight after the update."""
    return Site(index, "weight", "update", "", layer=layer, variable=index)


def diverged() -> Result:
    """The example of CONTRACT.md, more or less."""
    first = Divergence(0, "forward", A, B, 0.93, 1.1e-06, summary="Mul(., 1.4286) against Mul(., 3.3333)")
    cause = Cause(
        "dropout-rate",
        "forward",
        0,
        0.99,
        A,
        B,
        "b drops 70 %, a drops 30 %",
        "tf.nn.dropout(h, rate=1 - keep_prob)",
        {"a": 0.3, "b": 0.7},
        0.93,
        4.0e-08,
    )
    return Result(
        verdict="diverged",
        a_trace="a.h5",
        b_trace="b.h5",
        a_header=header("a.py"),
        b_header=header("b.py"),
        a_steps=10,
        b_steps=12,
        compared=10,
        first=first,
        divergences=(first,),
        own=(),
        causes=(cause,),
        rows=(row(weight(1, "dense"), weight(2, "w")), row(weight(3, "extra"), None), row(None, weight(4, "more"))),
        shared={"weights": {"shared": 8, "a": 8, "b": 8}, "batches": True, "noise": True},
        notes=("the rows are shuffled in both",),
    )


@pytest.fixture
def make_result() -> Callable[..., Result]:
    """A diverged result with a dropout rate as its cause; keyword arguments replace fields."""
    return lambda **changes: dataclasses.replace(diverged(), **changes)


@pytest.fixture
def make_divergence() -> Callable[..., Divergence]:
    """A divergence in forward; keyword arguments replace fields."""

    def make(**changes: Any) -> Divergence:
        return dataclasses.replace(Divergence(0, "forward", A, B, 0.5, 1e-06), **changes)

    return make
