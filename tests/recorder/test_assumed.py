"""b is run with a cause taken away: then the two agree; and what was not applied never looks applied."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tfdiff.api import record as record_block
from tfdiff.trace.reader import open_trace

from .conftest import HERE
from .layer_pairs import marks

if TYPE_CHECKING:
    from collections.abc import Callable

SCRIPT = HERE / "scripts" / "assumed.py"
MARKS = marks(SCRIPT)


CASES = [
    ("dropout", 0.2, 0.5, "dropout-rate=0.2", "dropout"),
    ("tf-dropout", 0.2, 0.5, "dropout-rate=0.2", "tf-dropout"),
    ("v1-dropout", 0.8, 0.5, "dropout-rate=0.2", "v1-dropout"),
    ("epsilon", 1e-3, 1e-1, "norm-epsilon=0.001", "epsilon"),
    ("tf-epsilon", 1e-3, 1e-1, "norm-epsilon=0.001", "tf-epsilon"),
    ("momentum", 0.99, 0.9, "state-norm-momentum=0.99", "momentum"),
    ("lr", 0.1, 0.2, "lr=0.1", "lr"),
    ("v1-lr", 0.1, 0.2, "lr=0.1", "v1-lr"),
    ("adam", 1e-3, 1e-1, "optimizer-epsilon=0.001", "adam"),
    ("v1-adam", 1e-3, 1e-1, "optimizer-epsilon=0.001", "v1-adam"),
    ("beta", 0.8, 0.9, "optimizer-betas=0.8,0.999", "beta"),
    ("sgd-momentum", 0.9, 0.0, "optimizer-momentum=0.9", "sgd-momentum"),
    ("flag", "true", "false", "training-flag=true", "flag"),
    ("reduction", "mean", "sum", "loss-reduction=mean", "reduction"),
    ("tf-reduction", "mean", "sum", "loss-reduction=mean", "sum"),
    ("logits", "false", "true", "loss-from-logits=false", "logits"),
    ("smoothing", 0.1, 0.0, "loss-smoothing=0.1", "smoothing"),
]


@pytest.fixture
def pair(tfdiff, tmp_path) -> Callable[..., dict]:
    """Record a program as a and, with another value, as b, with and without assumptions; the comparison of each."""

    def record(output: str, name: str, value: object, *options: object):
        return tfdiff("record", "-o", output, "--steps", 2, "--force", *options, SCRIPT, name, value)

    def compare() -> dict:
        tfdiff("diff", "a.h5", "b.h5", "--json", "result.json")
        return json.loads((tmp_path / "result.json").read_text())

    def run(name: str, a: object, b: object, assume: str | None = None) -> dict:
        ran = record("a.h5", name, a, "--no-calibrate")
        assert ran.code == 0, ran.err
        against = ("--reference", "a.h5")
        assumed = ("--assume", assume) if assume else ()
        ran = record("b.h5", name, b, *against, *assumed)
        assert ran.code == 0, ran.err
        return {**compare(), "talk": ran.err}

    return run


@pytest.mark.parametrize(("name", "a", "b", "assume", "mark"), CASES)
def test_with_the_cause_taken_away_the_two_agree(pair, name, a, b, assume, mark):
    """Run with a's value at that line, b's steps are equal to a's; the trace says what took it, and where."""
    assume = f"{assume}@{MARKS[mark]}"
    result = pair(name, a, b, assume)
    assert result["verdict"] == "equivalent", (result["causes"], result["talk"])
    (assumed,) = result["b"]["assumed"]
    assert assumed["assume"] == assume
    assert any(taken.endswith(MARKS[mark]) for taken in assumed["taken"]), assumed
    assert "tfdiff: assumed" in result["talk"]
    assert "NOT assumed" not in result["talk"]


@pytest.mark.parametrize(("name", "a", "b", "assume", "mark"), CASES)
def test_the_cause_says_how_to_try_it(pair, tfdiff, name, a, b, assume, mark):
    """The cause that is named says what to assume and where, and the text the command."""
    result = pair(name, a, b)
    assert f"{assume}@{MARKS[mark]}" in [cause["assume"] for cause in result["causes"]], result["causes"]
    text = tfdiff("diff", "a.h5", "b.h5").out
    assert f"     try    tfdiff record --reference a.h5 -o b-assumed.h5 --steps 2 --assume {assume}@" in text


def test_arithmetic_by_hand_says_nothing_to_try(pair):
    """A dropout written by hand is told as such, and nothing there can be set."""
    result = pair("by-hand", 0.2, 0.5)
    told = {cause["code"]: cause["assume"] for cause in result["causes"]}
    assert "dropout-rate" in told
    assert set(told.values()) == {None}


@pytest.mark.parametrize(
    ("name", "assume", "said"),
    [
        ("dropout", f"dropout-rate=0.2@{MARKS['lr']}", f"Dropout 'dropout' at {MARKS['dropout']}"),
        ("by-hand", f"dropout-rate=0.2@{MARKS['by-hand']}", "nothing that can be set"),
        ("lr", "norm-epsilon=0.1", "nothing in the script took it"),
    ],
)
def test_what_nothing_took_does_not_look_assumed(pair, tfdiff, name, assume, said):
    """The run is the script's own: `record` says so and where it can be set, `info` and `diff` say it too."""
    result = pair(name, 0.2, 0.5, assume)
    assert f"tfdiff: NOT assumed {assume}: nothing" in result["talk"]
    assert said in result["talk"]
    assert "tfdiff: assumed" not in result["talk"]
    assert result["b"]["assumed"] == [{"assume": assume, "taken": []}]
    assert result["verdict"] == "diverged"
    assert f"assumed    {assume}, NOT taken by anything" in tfdiff("info", "b.h5").out
    assert f"assumed   {assume}, NOT taken by anything" in tfdiff("diff", "a.h5", "b.h5").out


@pytest.mark.parametrize("kind", ["new", "legacy"])
def test_several_at_once_in_legacy_keras(tfdiff, kind):
    """Layers, a loss and an optimizer of tf_keras take theirs, and the two agree."""
    script, wanted = HERE / "scripts" / "assumed_legacy.py", ("dropout", "norm", "optimizer", "optimizer", "compile")
    given = ("dropout-rate=0.2", "norm-epsilon=0.001", "lr=0.01", "optimizer-betas=0.8,0.999", "loss-reduction=mean")
    lines = marks(script)
    assume = [f"{text}@{lines[mark]}" for text, mark in zip(given, wanted, strict=True)]
    options = [word for text in assume for word in ("--assume", text)]
    a = ("record", "-o", "a.h5", "--steps", 2, "--no-calibrate")
    ran = tfdiff(*a, script, kind, 0.2, 0.001, 0.01, 0.8, "sum_over_batch_size")
    assert ran.code == 0, ran.err
    b = ("record", "-o", "b.h5", "--steps", 2, "--reference", "a.h5")
    ran = tfdiff(*b, *options, script, kind, 0.5, 0.1, 0.03, 0.9, "sum")
    assert ran.code == 0, ran.err
    assert ran.err.count("tfdiff: assumed") == len(assume), ran.err
    compared = tfdiff("diff", "a.h5", "b.h5")
    assert compared.code == 0, compared.out


def test_every_run_of_the_script_is_made_with_it(pair, tfdiff, tmp_path):
    """The isolated run, too: b's other fault is told behind the one that was taken away, which is gone."""
    result = pair("dropout-lr", 0.2, 0.5, f"dropout-rate=0.2@{MARKS['dropout-lr']}")
    assert [cause["code"] for cause in result["causes"]] == ["lr"]
    assert "to judge each layer by itself" in result["talk"]
    pair("dropout-lr", 0.2, 0.5)
    tfdiff("diff", "a.h5", "b.h5", "--json", "result.json")
    both = json.loads((tmp_path / "result.json").read_text())
    assert [cause["code"] for cause in both["causes"]] == ["dropout-rate", "lr"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("dropout-rate", "CODE=VALUE"),
        ("mask=1", "expected a code that can be set in a run, found 'mask': take one of dropout-rate,"),
        ("dropout-rate=1.5", "expected a number from 0 to 1, found '1.5'"),
        ("training-flag=yes", "expected true or false, found 'yes'"),
        ("lr=0.1@b.py", "expected a place FILE:LINE"),
    ],
)
def test_what_cannot_be_assumed(tfdiff, given, said):
    """Bad usage: one line that says what was expected, what was found, and what to do."""
    ran = tfdiff("record", "--reference", "a.h5", "--assume", given, SCRIPT, "lr", 0.1)
    assert ran.code == 2
    assert said in ran.err
    assert len(ran.err.strip().splitlines()) == 1


def test_nothing_is_assumed_without_a_reference(tfdiff):
    """There is nothing to agree with."""
    ran = tfdiff("record", "--assume", "lr=0.1", SCRIPT, "lr", 0.1)
    assert ran.code == 2
    assert "--reference" in ran.err


def test_everything_is_given_back(tf, tmp_path):
    """Behind a recording with assumptions TensorFlow's functions and the user's objects are what they were."""
    tf.keras.utils.set_random_seed(1)
    layer, optimizer = tf.keras.layers.Dropout(0.5), tf.keras.optimizers.SGD(0.1, momentum=0.5)
    model = tf.keras.Sequential([tf.keras.Input((3,)), layer, tf.keras.layers.Dense(1)])
    places = [
        (tf.nn, "dropout"),
        (tf, "reduce_sum"),
        (tf.compat.v1.nn, "dropout"),
        (type(layer).__mro__[1], "__call__"),
    ]
    before = [getattr(*place) for place in places]
    loss = tf.keras.losses.MeanSquaredError()
    model.compile(optimizer, loss)
    assume = ("dropout-rate=0.1", "lr=0.7", "optimizer-momentum=0.9", "loss-reduction=sum", "training-flag=true")
    with record_block(tmp_path / "a.h5", steps=1, quiet=True, assume=assume):
        model.fit(np.ones((4, 3)), np.ones((4, 1)), verbose=0)
    assert [getattr(*place) for place in places] == before
    assert (layer.rate, optimizer.momentum, loss.reduction) == (0.5, 0.5, "sum_over_batch_size")
    assert float(optimizer.learning_rate) == pytest.approx(0.1)
    with open_trace(tmp_path / "a.h5") as trace:
        told = {one["assume"]: one["taken"] for one in trace.header.assumed}
        assert all(told.values()), told
        assert trace.step(0).info.optimizers[0]["learning_rate"] == pytest.approx(0.7)
