"""A second fault behind weights without a counterpart: a wider layer, or one twice."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tfdiff

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfdiff.model import Result

    from .conftest import Zygote

SCRIPTS = Path(__file__).parent / "scripts"


@pytest.fixture(scope="module")
def diff(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Result]:
    """A program with some faults against the reference, by script and the words of both."""
    folders: dict[str, Path] = {}

    def run(script: str, reference: tuple[str, ...], *words: str) -> Result:
        if script not in folders:
            folders[script] = tmp_path_factory.mktemp(script)
            command = ("record", "--quiet", "--no-calibrate", "-o", "a.h5", SCRIPTS / f"{script}.py", *reference)
            ran = zygote.run(*command, cwd=folders[script])
            assert ran.code == 0, ran.err
        command = (
            "record",
            "--quiet",
            "--force",
            "--reference",
            "a.h5",
            "-o",
            "b.h5",
            SCRIPTS / f"{script}.py",
            *words,
        )
        ran = zygote.run(*command, cwd=folders[script])
        assert ran.code == 0, ran.err
        return tfdiff.diff(folders[script] / "a.h5", folders[script] / "b.h5")

    return run


def told(result: Result) -> list[tuple[int, str]]:
    """Steps and phases of all divergences."""
    return [(found.step, found.phase) for found in result.divergences]


@pytest.mark.parametrize("style", ["keras", "session"])
def test_the_width_hides_no_momentum(diff, style):
    """Another momentum is told in the second step, though weights without a counterpart take part in the norm."""
    assert told(diff("clipped", ("keras",), style, "width", "momentum")) == [(0, "forward"), (1, "update")]


@pytest.mark.parametrize("style", ["keras", "session"])
def test_the_width_alone(diff, style):
    """What the norm takes in of weights without a counterpart is no further divergence."""
    assert told(diff("clipped", ("keras",), style, "width")) == [(0, "forward")]


@pytest.mark.parametrize(
    ("twice", "second", "code"),
    [
        ("layer-twice", "slope", "activation"),
        ("branch-twice", "rate", "dropout-rate"),
    ],
)
def test_a_layer_twice_hides_nothing_behind_it(diff, twice, second, code):
    """Behind a layer that stands twice the next one is judged, in front of a sum too, and the layer alone is one."""
    assert told(diff("doubled", (), twice)) == [(0, "forward")]
    result = diff("doubled", (), twice, second)
    assert told(result) == [(0, "forward"), (0, "forward")]
    assert result.causes[1].code == code
