"""A second fault behind one that changes the norm of all gradients, by which both programs clip."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tfdiff

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfdiff.model import Result

    from .conftest import Zygote

SCRIPT = Path(__file__).parent / "scripts" / "clipped.py"


@pytest.fixture(scope="module")
def diff(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Result]:
    """The programs of a style with some faults against the reference."""
    folder = tmp_path_factory.mktemp("clipped")
    ran = zygote.run("record", "--quiet", "--no-calibrate", "-o", "a.h5", SCRIPT, "keras", cwd=folder)
    assert ran.code == 0, ran.err

    def run(*words: str) -> Result:
        ran = zygote.run(
            "record", "--quiet", "--force", "--reference", "a.h5", "-o", "b.h5", SCRIPT, *words, cwd=folder
        )
        assert ran.code == 0, ran.err
        return tfdiff.diff(folder / "a.h5", folder / "b.h5")

    return run


@pytest.mark.parametrize("style", ["keras", "session"])
def test_the_width_hides_no_momentum(diff, style):
    """Another momentum is told in the second step, though weights without a counterpart take part in the norm."""
    result = diff(style, "width", "momentum")
    assert [(found.step, found.phase) for found in result.divergences] == [(0, "forward"), (1, "update")]


@pytest.mark.parametrize("style", ["keras", "session"])
def test_the_width_alone(diff, style):
    """What the norm takes in of weights without a counterpart is no further divergence."""
    result = diff(style, "width")
    assert [(found.step, found.phase) for found in result.divergences] == [(0, "forward")]
