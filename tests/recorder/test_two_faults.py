"""Two faults at once in real programs: the second one, hidden behind the first, is told by the isolated pass."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import tfdiff

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfdiff.model import Result

    from .conftest import Zygote

SCRIPT = Path(__file__).parent / "scripts" / "two_faults.py"
FAULTS: dict[str, tuple[str, int, str, dict[str, Any]]] = {
    "first-activation": ("activation", 0, "forward", {"a": "relu", "b": "tanh"}),
    "second-activation": ("activation", 0, "forward", {"a": "relu", "b": "tanh"}),
    "rate": ("dropout-rate", 0, "forward", {"a": 0.25, "b": 0.5}),
    "bias": ("bias-missing", 0, "forward", {}),
    "clip": ("grad-clipping", 0, "backward", {"b": 0.01}),
    "lr": ("lr", 0, "update", {"a": 0.1, "b": 0.101}),
    "schedule": ("lr-schedule", 2, "update", {"a": 0.05, "b": 0.1}),
}
"""By word of the script: code, first step, phase and constants."""
PAIRS = [
    ("keras", "first-activation", "lr"),
    ("raw", "first-activation", "second-activation"),
    ("session", "first-activation", "rate"),
    ("raw", "bias", "clip"),
    ("keras", "rate", "schedule"),
    ("session", "first-activation", "schedule"),
    ("session", "second-activation", "lr"),
    ("keras", "rate", "bias"),
]


@pytest.fixture(scope="module")
def diff(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Result]:
    """The programs of a style with some faults against the reference, recorded with the given options."""
    folder = tmp_path_factory.mktemp("two")
    ran = zygote.run("record", "--quiet", "--no-calibrate", "-o", "a.h5", SCRIPT, "reference", cwd=folder)
    assert ran.code == 0, ran.err

    def run(style: str, *faults: str, options: tuple[str, ...] = ()) -> Result:
        command = ("record", "--quiet", "--force", "--reference", "a.h5", *options, "-o", "b.h5", SCRIPT)
        ran = zygote.run(*command, style, *faults, cwd=folder)
        assert ran.code == 0, ran.err
        return tfdiff.diff(folder / "a.h5", folder / "b.h5")

    return run


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_both_are_found(diff, pair):
    """Both faults are told with their step, phase, code and constants, in causal order, and nothing else is."""
    style, *faults = pair
    result = diff(style, *faults)
    wanted = [FAULTS[fault] for fault in faults]
    if style == "raw":  # which hands nothing to an optimizer
        wanted = [(code, step, "update" if phase == "backward" else phase, c) for code, step, phase, c in wanted]
    assert [(cause.code, cause.step, cause.phase) for cause in result.causes] == [one[:3] for one in wanted]
    assert [one.phase for one in result.divergences] == [phase for _, _, phase, _ in wanted]
    for cause, (*_, constants) in zip(result.causes, wanted, strict=True):
        for side, value in constants.items():
            told = cause.constants[side]
            assert told == value if isinstance(value, str) else told == pytest.approx(value, rel=1e-3)
    assert result.isolation is not None
    assert result.isolation.left == ()


@pytest.mark.parametrize("style", ["keras", "raw", "session"])
def test_isolation_invents_nothing(diff, style):
    """A program without a fault is equivalent in isolated steps, too, with every joint written over in each."""
    result = diff(style, options=("--lockstep",))
    assert result.divergences == ()
    assert result.isolation is not None
    assert (result.isolation.steps, len(result.isolation.joints), result.isolation.missed) == (4, 3, ())


def test_without_it_one_is_found(diff):
    """`--no-isolate`: only the first one is told, and the result says that nothing was judged behind it."""
    result = diff("raw", "first-activation", "lr", options=("--no-isolate",))
    assert [cause.code for cause in result.causes] == ["activation"]
    assert result.isolation is None
