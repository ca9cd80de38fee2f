"""Where an isolated pass of b puts a's tensors: in which places, and in which order of their elements."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tfdiff.comparison.isolation import plan_isolation
from tfdiff.comparison.joints import _channels, key_of
from tfdiff.trace.reader import open_trace

from . import build

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def planned(tmp_path: Path) -> Callable[..., list[tuple[str, str]] | None]:
    """Ops of a and b at the joints that are planned for a program with a plan."""

    def run(*, always: bool = False, **plan: object) -> list[tuple[str, str]] | None:
        first = build.Plan(steps=2)
        a = build.record(tmp_path / "a.h5", first)
        b = build.record(tmp_path / "b.h5", build.Plan(**{"style": "raw", "steps": 2, **plan}), reference=first)
        with open_trace(a) as one, open_trace(b) as other:
            isolation = plan_isolation(one, other, always=always)
            if isolation is None:
                return None
            sites = {key_of(site) for site in other.sites.values()}
            assert all(joint.b in sites for joint in isolation.joints)
            return sorted((one.sites[joint.a].op, joint.b[0]) for joint in isolation.joints)

    return run


def test_what_goes_into_products_and_the_loss(planned):
    """In an equivalent pair: what the second matrix takes (not the batch, which the first one takes) and the logits."""
    assert planned(always=True) == [("AddV2", "AddV2"), ("SelectV2", "SelectV2")]


def test_where_a_difference_begins(planned):
    """An activation of another kind is written over too, with what it is given, so that what follows is told."""
    assert planned(activation="tanh") == [("AddV2", "AddV2"), ("AddV2", "AddV2"), ("Relu", "Tanh"), ("SelectV2",) * 2]


def test_missing_op(planned):
    """Where b lacks an op nothing is put in the place of another kind of tensor: a relu's output is no sum."""
    found = planned(bias=False)
    assert found is not None
    assert ("SelectV2", "SelectV2") in found
    assert ("AddV2", "Relu") not in found


def test_own_start(tmp_path):
    """Two runs that did not start equal have no isolated steps that say more."""
    a = build.record(tmp_path / "a.h5", build.Plan(steps=2))
    b = build.record(tmp_path / "b.h5", build.Plan(style="raw", steps=2), own_start=True)
    with open_trace(a) as one, open_trace(b) as other:
        assert plan_isolation(one, other, always=True) is None


@pytest.mark.parametrize(("first", "turned"), [((True, False), (0, 2, 3, 1)), ((False, True), (0, 3, 1, 2))])
def test_channels(first, turned):
    """Images of a turn to b's format by the order of axes that NumPy takes."""
    assert _channels(4, *first) == turned
    assert _channels(4, first[0], first[0]) is None
