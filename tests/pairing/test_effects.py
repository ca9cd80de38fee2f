"""At which end of a draw its effect lies, told from what it did."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tfdiff.pairing.effects import end_of_effect, mirrored

DATA = np.random.RandomState(1)


class Step:
    """A step's observations, made op by op."""

    def __init__(self) -> None:
        self.observations, self._arrays = [], []

    def put(self, array, *inputs, op="Mul", role="activation", stored=True):
        """One more tensor; returns its index."""
        array = np.asarray(array)
        site = SimpleNamespace(op=op, role=role, phase="forward")
        self._arrays.append(array)
        self.observations.append(
            SimpleNamespace(
                index=len(self.observations),
                site=site,
                shape=array.shape,
                dtype=str(array.dtype),
                size=array.size,
                inputs=inputs,
                stored=stored,
            )
        )
        return len(self.observations) - 1

    def array(self, index):
        """Its value."""
        return self._arrays[index]


def dropped(how, *, op="RandomUniform", stored=True):
    """A step that drops units; `how`: how it is written."""
    step, x, u = Step(), DATA.normal(size=(8, 6)).astype("f4"), DATA.uniform(size=(8, 6)).astype("f4")
    x[x < -0.5] = 0.0  # a relu has left zeros behind already
    data, draw = step.put(x, op="Relu"), step.put(u, op=op, role="noise")
    if how == "keep high":
        keep = step.put(u >= 0.3, draw, op="GreaterEqual")
        step.put(np.where(u >= 0.3, x / 0.7, 0).astype("f4"), keep, data, op="SelectV2", stored=stored)
    elif how == "keep low":
        keep = step.put((u < 0.7).astype("f4"), draw, op="Cast")
        step.put(x * (u < 0.7), data, keep, stored=stored)
    else:
        drop = step.put((u < 0.3).astype("f4"), draw, op="Cast")
        inverse = step.put(1 - (u < 0.3).astype("f4"), drop, op="Sub")
        step.put(x * (u >= 0.3), data, inverse, stored=stored)
    return step, step.observations[draw]


def flipped(*, high):
    """A step that turns some of its rows round: a choice, or a blend of both."""
    step, x, u = Step(), DATA.normal(size=(6, 4)).astype("f4"), DATA.uniform(size=(6, 1)).astype("f4")
    data, draw = step.put(x, role="input"), step.put(u, op="RandomUniform", role="noise")
    back = step.put(x[:, ::-1], data, op="ReverseV2")
    turn = np.round(u) if high else (u <= 0.5).astype("f4")
    share = step.put(turn, draw, op="Round")
    first = step.put(turn * x[:, ::-1], share, back)
    rest = step.put(1 - turn, share, op="Sub")
    second = step.put((1 - turn) * x, rest, data)
    step.put(turn * x[:, ::-1] + (1 - turn) * x, first, second, op="AddV2")
    return step, step.observations[draw]


@pytest.mark.parametrize(("how", "end"), [("keep high", -1), ("keep low", 1), ("drop low", -1)])
def test_dropping(how, end):
    """What drops low numbers has its effect there, however the mask is written."""
    assert end_of_effect([dropped(how) for _ in range(2)]) == end


@pytest.mark.parametrize("high", [False, True])
def test_flipping(high):
    """The sum of a blend is looked at, not one of its two parts."""
    assert end_of_effect([flipped(high=high) for _ in range(4)]) == (1 if high else -1)


def test_what_cannot_be_told():
    """Nothing is said of other draws, of tensors that are not stored, or where the numbers are not parted."""
    assert end_of_effect([dropped("keep low", op="RandomStandardNormal")]) == 0
    assert end_of_effect([dropped("keep low", stored=False)]) == 0
    assert end_of_effect([dropped("keep low"), dropped("keep high")]) == 0
    assert end_of_effect([]) == 0


def test_mirrored_draws_stay_in_their_range():
    """0 becomes the largest number below 1."""
    turned = mirrored(np.array([0.0, 0.25, 0.75], "f4"))
    assert turned.dtype == np.float32
    assert turned.tolist() == [float(np.nextafter(np.float32(1), np.float32(0))), 0.75, 0.25]
