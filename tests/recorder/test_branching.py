"""An isolated pass of networks with branches, and of layers that run more often than they are used: no false fault."""

from __future__ import annotations

from pathlib import Path

import pytest

import tfdiff

SCRIPT = Path(__file__).parent / "scripts" / "branching.py"


@pytest.fixture
def diff(zygote, tmp_path):
    """A network with some faults against the one without."""

    def run(network, *faults):
        for options, words in (
            (("--no-calibrate", "-o", "a.h5"), ("a",)),
            (("--reference", "a.h5", "-o", "b.h5"), ("b", *faults)),
        ):
            ran = zygote.run("record", "--quiet", *options, SCRIPT, network, *words, cwd=tmp_path)
            assert ran.code == 0, ran.err
        result = tfdiff.diff(tmp_path / "a.h5", tmp_path / "b.h5")
        assert result.isolation is not None
        return result

    return run


@pytest.mark.parametrize("network", ["attention", "recurrent"])
def test_both_faults_and_no_other(diff, network):
    """Of two faults both are told, and nothing else: neither the gradients of branches that meet, nor an output that
    is asked for its shape only, which is no evaluation either.
    """
    result = diff(network, "activation", "lr")
    assert [(cause.code, cause.step) for cause in result.causes] == [("activation", 0), ("lr", 0)]
    assert len(result.divergences) == 2
    assert not any("evaluation" in note for note in result.notes)


@pytest.mark.parametrize("words", [(), ("graph",)])
def test_other_rows(diff, words):
    """Where b looks up other rows of a table than a does, its update of that table is no second fault."""
    result = diff("embedded", "offset", *words)
    assert [(one.step, one.phase) for one in result.divergences] == [(0, "forward")]


@pytest.mark.parametrize("fault", ["no-bypass", "wider"])
def test_what_follows_is_carried(diff, fault):
    """Neither the gradient of what a missing way around a layer leads to, nor the penalty on a layer of another width,
    is a fault of its own.
    """
    assert [(one.step, one.phase) for one in diff("bypass", fault).divergences] == [(0, "forward")]
