"""How layers, losses and optimizers were set up: stored once, in each flavour of Keras; evidence, never a cause."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tfdiff as api
from tfdiff.recorder import configurations
from tfdiff.recorder.configurations import Configurations
from tfdiff.recorder.settings import plain_settings
from tfdiff.trace.reader import open_trace

SCRIPT = Path(__file__).parent / "scripts" / "configured.py"
FLAVOURS = ("keras", "tf.keras", "tf_keras")
LINES = {
    line.rpartition("# mark: ")[2]: f"configured.py:{number}"
    for number, line in enumerate(SCRIPT.read_text().splitlines(), 1)
    if "# mark: " in line
}


@pytest.fixture(scope="module")
def recorded(zygote, tmp_path_factory):
    """Record a network, each once; against another one where that is given. What it said comes with it."""
    folder = tmp_path_factory.mktemp("configured")

    def run(*given: str, reference: Path | None = None) -> Path:
        path = folder / f"{'-'.join(given)}{'-b' if reference else ''}.h5".replace("=", "_")
        if not path.exists():
            against = ("--reference", reference, "--no-isolate") if reference else ()
            ran = zygote.run("record", "-o", path, "--steps", 2, *against, SCRIPT, *given, cwd=folder)
            assert ran.code == 0, ran.err
            assert ran.out == ""
        return path

    return run


@pytest.fixture
def compared(recorded):
    """The result of two networks, both given as the script takes them."""

    def run(a: str, b: str) -> api.Result:
        first = recorded(*a.split())
        return api.diff(first, recorded(*b.split(), reference=first))

    return run


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_what_is_stored(recorded, flavour):
    """One entry for each layer, loss and optimizer, with the line that creates it, in names and numbers."""
    with open_trace(recorded(flavour)) as trace:
        found = {(one.kind, one.class_name, one.path): one for one in trace.configurations}
        layers = {site.layer for site in trace.sites.values()}
    names = [(kind, name) for kind, name, _ in found]
    assert sorted(names) == [
        ("layer", "BatchNormalization"),
        ("layer", "Dense"),
        ("layer", "Dense"),
        ("layer", "Dropout"),
        ("loss", "SparseCategoricalCrossentropy"),
        ("optimizer", "Adam"),
    ]
    assert {path for kind, _, path in found if kind == "layer"} <= layers
    of = {one.path.rpartition("/")[2]: one for one in found.values()}
    hidden = of["hidden"].settings
    assert (hidden["units"], hidden["activation"], hidden["use_bias"], hidden["dtype"]) == (16, "relu", True, "float32")
    assert (hidden["kernel_initializer"], hidden["kernel_regularizer"]["class"]) == ("GlorotUniform", "L2")
    assert (of["dropout"].settings["rate"], of["dropout"].source) == (0.2, LINES["dropout"])
    assert (of["norm"].settings["epsilon"], of["norm"].settings["momentum"]) == (1e-3, 0.99)
    (loss, optimizer) = (next(one for one in found.values() if one.kind == kind) for kind in ("loss", "optimizer"))
    assert (loss.settings["from_logits"], loss.source) == (True, LINES["loss"])
    assert (optimizer.settings["beta_1"], optimizer.settings["learning_rate"]) == (0.9, pytest.approx(0.01))
    assert optimizer.source == LINES["optimizer"]


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_evidence(compared, flavour):
    """The setting that was fitted is named as it is written, whichever Keras b is written for."""
    (cause,) = compared("keras", f"{flavour} rate=0.5").causes
    assert cause.code == "dropout-rate"
    assert cause.evidence == ({"key": "rate", "a": 0.2, "b": 0.5},)
    assert cause.summary.endswith("; Dropout(rate=0.5) in B, rate=0.2 in A")
    assert cause.fix == f"Dropout(rate=0.2) at {LINES['dropout']}"
    assert cause.confidence > 0.98


def test_losses_and_optimizers(compared):
    """What is no number, and what belongs to a loss or to the update, is evidence as well."""
    causes = {cause.code: cause for cause in compared("keras", "tf_keras logits=no momentum=0.9").causes}
    assert causes["loss-from-logits"].evidence == ({"key": "from_logits", "a": True, "b": False},)
    assert causes["state-norm-momentum"].evidence == ({"key": "momentum", "a": 0.99, "b": 0.9},)
    (cause,) = compared("keras", "tf_keras beta_1=0.8").causes
    assert cause.evidence == ({"key": "beta_1", "a": 0.9, "b": pytest.approx(0.8)},)
    assert cause.summary.endswith("; Adam(beta_1=0.8) in B, beta_1=0.9 in A")


def test_a_hint_where_nothing_explains(compared):
    """No known function is fitted: the setting that differs is named, and is no proof."""
    result = compared("keras", "keras activation=squareplus")
    (cause,) = result.causes
    assert (cause.code, cause.confidence) == ("unexplained", 0.0)
    assert cause.summary.endswith("; configuration differs: activation relu / squareplus")
    assert cause.evidence == ({"key": "activation", "a": "relu", "b": "squareplus"},)


def test_initializers(compared):
    """What a weight was made with is evidence for its distribution, and for nothing else."""
    (cause,) = compared("keras", "tf_keras initializer=zeros").causes
    assert (cause.code, cause.phase) == ("init-distribution", "init")
    assert cause.evidence == ({"key": "kernel_initializer", "a": "GlorotUniform", "b": "Zeros"},)


@pytest.mark.parametrize("b", ["keras activation=relu6 name=other", "tf_keras"])
def test_settings_that_make_no_difference(compared, b):
    """Where the numbers agree nothing is said, whatever the settings are."""
    result = compared("keras", b)
    assert (result.verdict, result.first, result.divergences) == ("equivalent", None, ())
    assert not any("activation" in note for note in result.notes)


@pytest.mark.parametrize("flavour", ["keras", "tf_keras"])
@pytest.mark.parametrize("way", ["raise", "exit"])
def test_a_configuration_that_cannot_be_had(recorded, flavour, way):
    """A `get_config` that raises or ends the program is no configuration; the run goes on and hears nothing of it."""
    with open_trace(recorded(flavour, f"hostile={way}")) as trace:
        assert (trace.steps, trace.end.complete) == (2, True)
        assert len(trace.configurations) == 6
        assert all(one.class_name != "Hostile" for one in trace.configurations)


def test_a_large_configuration(recorded, zygote, tmp_path):
    """What is too large is left out and said; a folder is none of our business."""
    path = recorded("keras", "hostile=large")
    with open_trace(path) as trace:
        (found,) = (one for one in trace.configurations if one.class_name == "Hostile")
    assert (found.base, found.cut) == ("Layer", ("words",))
    assert found.settings == {"rate": 0.25, "folder": "vocabulary.txt", "of": "object"}
    text = zygote.run("info", path, cwd=tmp_path).out
    assert "configured 5 layer, 1 loss, 1 optimizer; too large to keep: words of net/hostile" in text
    document = json.loads(zygote.run("info", path, "--json", cwd=tmp_path).out)
    assert len(document["configurations"]) == 7
    assert document["switches"]["eager mode"] == "on"


def test_plain_settings():
    """Functions are names, objects are classes, lambdas and code are not kept, nothing is without end."""
    loop: list[object] = []
    loop.append(loop)
    home = str(Path.home())
    settings, cut = plain_settings(
        {
            "activation": len,
            "code": lambda x: x,
            "function": ["4wEAAAA", None, None],
            "function_type": "lambda",
            "loop": loop,
            "layer": {"class_name": "Dense", "config": {"units": 3, "name": "x"}, "module": "keras.layers"},
            "of": object(),
            "many": list(range(17)),
            "number": 1 << 70,
            "text": f"see {home}/x",
            "kernel": float("nan"),
        }
    )
    assert settings.pop("kernel") != 0
    assert settings == {
        "activation": "len",
        "code": "lambda",
        "function": "lambda",
        "function_type": "lambda",
        "layer": {"class": "Dense", "units": 3},
        "of": "object",
        "text": "see ~/x",
    }
    assert cut == ("loop", "many", "number")
    settings, cut = plain_settings({f"key {number}": "x" * 150 for number in range(1000)})
    assert len(json.dumps(settings)) < 5000
    assert len(cut) + len(settings) == 64


def library(**methods: object) -> type:
    """A class as Keras has one."""
    return type("Layer", (), {"__module__": "keras.src.layers", **methods})


def told(rate: float, times: list[int] | None = None) -> object:
    """An object of the library with a setting; `times` grows when it is asked."""

    def get_config(_: object) -> dict[str, float]:
        if times is not None:
            times.append(1)
        return {"rate": rate}

    return library(get_config=get_config)()


def test_asked_once():
    """However often a layer runs, it is asked once."""
    times: list[int] = []
    seen, layer = Configurations(), told(0.2, times)
    for _ in range(100):
        seen.saw("layer", "net/drop", layer, "a.py:3")
    assert [one.settings for one in seen.finish()] == [{"rate": 0.2}]
    assert len(times) == 1


def test_nothing_that_ran(monkeypatch):
    """A program that never imports TensorFlow is not made to at its end."""
    monkeypatch.setattr(configurations, "_eager", lambda: pytest.fail("asked"))
    assert Configurations().finish() == ()


def test_two_of_one_name():
    """Two objects by one name and line are told together where they are alike, and not at all where they are not."""
    seen = Configurations()
    for kind, rates in (("layer", (0.2, 0.2)), ("loss", (0.2, 0.3))):
        for layer in [told(rate) for rate in rates]:
            seen.saw(kind, "x", layer, "a.py:3")
    assert [one.kind for one in seen.finish()] == ["layer"]


def test_objects_that_are_made_anew_in_every_step():
    """They are not asked again and again, nor kept alive."""
    times: list[int] = []
    seen = Configurations()
    for _ in range(100):
        seen.saw("layer", "x", told(0.2, times), "a.py:3")
    assert len(times) <= 4
    assert len(seen.finish()) == 1


def test_the_users_are_asked_in_the_end():
    """What is the user's is asked when all is recorded, also where a layer of the library holds it; if it lives."""
    times: list[int] = []
    mine = type("Mine", (library(),), {"__module__": "__main__", "get_config": lambda _: {"of": times.append(1)}})
    seen, own, holder, gone = Configurations(), mine(), told(0.5), mine()
    holder.activation = mine()
    for name, layer in (("own", own), ("holder", holder), ("gone", gone)):
        seen.saw("layer", name, layer, None)
    assert times == []
    del layer, gone
    assert {(one.path, one.base) for one in seen.finish()} == {("own", "Layer"), ("holder", "")}
    assert times == [1]


V1 = """
import numpy as np
import tensorflow as tf
from tf_keras.src.legacy_tf_layers import core

rng = np.random.RandomState(0)
X, Y = rng.normal(size=(8, 6)).astype("float32"), rng.randint(0, 3, size=8)
v1 = tf.compat.v1
with tf.Graph().as_default():
    x, y = v1.placeholder(tf.float32, [8, 6]), v1.placeholder(tf.int64, [8])
    h = core.dropout(core.dense(x, 5, activation=tf.nn.relu, name="hidden"), rate=0.25, training=True, name="drop")
    loss = v1.losses.sparse_softmax_cross_entropy(y, core.dense(h, 3, use_bias=False, name="last"))
    train = v1.train.AdamOptimizer(0.01, beta1=0.8).minimize(loss)
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        for _ in range(2):
            session.run(train, {x: X, y: Y})
"""


def test_layers_of_tensorflow_1(zygote, tmp_path):
    """Functions of `tf.compat.v1.layers` make layers that do not live long; a session says how it is run, too."""
    (tmp_path / "v1.py").write_text(V1)
    ran = zygote.run("record", "-o", tmp_path / "v1.h5", tmp_path / "v1.py", cwd=tmp_path)
    assert ran.code == 0, ran.err
    with open_trace(tmp_path / "v1.h5") as trace:
        found = {one.path: one.settings for one in trace.configurations}
        assert trace.header.switches["eager mode"] == "off"
        assert trace.header.numerics["dtype policy"] == "float32"
    assert (found["hidden"]["activation"], found["hidden"]["use_bias"]) == ("relu", True)
    assert (found["drop"]["rate"], found["last"]["use_bias"]) == (0.25, False)
    assert (found["Adam"]["beta_1"], found["Adam"]["learning_rate"]) == (0.8, 0.01)
