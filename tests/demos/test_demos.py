"""The registry of demos, their files, and the data they train on."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tfdiff.demos import DEFAULT, DEMOS, Demo, find, materialize
from tfdiff.errors import UsageError

if TYPE_CHECKING:
    from types import ModuleType

FIXED = Path(__file__).parent / "fixed"
SAYS = {
    ("mnist-mlp-tf2", "data-shuffle"): ("model.fit(", "batch_x = X_train[j * batch_size"),
    ("mnist-mlp-tf2", "data-dropped-batch"): ("model.fit(", "floor(len(X_train)/batch_size)"),
    ("mnist-mlp-tf2", "init-distribution"): (
        "Dense(128, input_dim",
        "tf.Variable(tf.random.normal([28*28, num_neurones]))",
    ),
    ("mnist-mlp-tf2", "dropout-rate"): ("Dropout(0.3)", "tf.nn.dropout(prev_X, dropout)"),
    ("mnist-mlp-tf2", "arch-extra-layer"): ("Dense(10", "tf.matmul(prev_X, weights['W_layer_' + str(i)])"),
    ("mnist-mlp", "data-shuffle"): ("model.fit(", "batch_x = X_train[j * batch_size"),
    ("mnist-mlp", "data-dropped-batch"): ("model.fit(", "floor(len(X_train)/batch_size)"),
    ("mnist-mlp", "init-distribution"): (
        "Dense(128, input_dim",
        "tf.Variable(tf.random_normal([28*28, num_neurones]))",
    ),
    ("mnist-mlp", "arch-extra-layer"): ("Dense(10", "tf.matmul(prev_X, weights['W_layer_' + str(i)])"),
    ("iceberg", "dropout-rate"): ("Dropout(0.2)", ",rate=0.8,training=isTrainPlace)"),
    ("mnist-mlp", "optimizer-epsilon"): ("Adam(learning_rate = 0.001)", "AdamOptimizer(learning_rate = learning_rate)"),
    ("iceberg", "optimizer-epsilon"): ("Adam(learning_rate=0.01)", "AdamOptimizer(learning_rate=learningRateIn)"),
    ("iceberg", "arch-width"): ("Dense(1)", "tf.layers.dense(dropout_dense_2,2)"),
    ("iceberg", "state-updates-not-run"): ("BatchNormalization()", "minimize(loss)"),
    ("augmentation", "data-augmentation"): ("datagen.flow(x_train", ".batch(32)"),
    ("augmentation", "data-shuffle"): ("datagen.flow(x_train", ".batch(32)"),
    ("mnist-cnn", "data-shuffle"): ("model.fit(", ".batch(32)"),
    ("custom-layer", "init-distribution"): ("initializer='random_normal'", "tf.random.normal([units])"),
    ("custom-layer", "lr"): ("optimizer='adam'", "Adam(learning_rate=0.01)"),
}
"""What stands on the two lines that a fault names."""

KEPT = {"arch-extra-layer"}
"""Faults that are mended elsewhere than on the line where they show."""

each_demo = pytest.mark.parametrize("demo", DEMOS, ids=lambda demo: demo.name)


@pytest.fixture
def data(tmp_path: Path) -> ModuleType:
    """Import the data module as a script would."""
    materialize(DEFAULT, tmp_path)
    spec = importlib.util.spec_from_file_location("demo_data", tmp_path / "data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def line_of(folder: Path, place: str) -> str:
    """Return the source line that `file:line` names."""
    file, line = place.split(":")
    return (folder / file).read_text(encoding="utf-8").splitlines()[int(line) - 1]


def test_the_default_is_the_seed_question() -> None:
    """Without a name the demo is the question's port to today's TensorFlow, and all seed pairs are there."""
    assert DEFAULT == "mnist-mlp-tf2"
    seeds = ["mnist-mlp-tf2", "mnist-mlp", "iceberg", "augmentation", "mnist-cnn", "custom-layer"]
    assert [demo.name for demo in DEMOS] == seeds
    assert find(DEFAULT) is DEMOS[0]


@each_demo
def test_materialize_copies_exactly_the_scripts(demo: Demo, tmp_path: Path) -> None:
    """A demo's directory holds its two scripts and the data module, no caches, and the paths returned are a and b."""
    a, b = materialize(demo.name, tmp_path / "new" / "folder")
    assert (a.name, b.name) == ("a.py", "b.py")
    assert sorted(path.name for path in a.parent.iterdir()) == ["a.py", "b.py", "data.py"]


def test_materialize_twice_is_harmless(tmp_path: Path) -> None:
    """Equal files in the way are no reason to refuse, and they are not written again."""
    a, b = materialize(DEFAULT, tmp_path)
    os.utime(a, (1, 1))
    assert materialize(DEFAULT, tmp_path) == (a, b)
    assert a.stat().st_mtime == 1


def test_materialize_overwrites_nobodys_work(tmp_path: Path) -> None:
    """A file with other content is refused by name, it stays as it was and nothing else is written."""
    (tmp_path / "b.py").write_text("print('mine')\n")
    with pytest.raises(UsageError, match=r"b\.py"):
        materialize(DEFAULT, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["b.py"]
    assert (tmp_path / "b.py").read_text() == "print('mine')\n"


def test_a_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """Where no directory can be made the message says so, without a traceback."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="needs a directory"):
        materialize(DEFAULT, tmp_path / "file")


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    """A wrong name is bad usage, names every demo there is, and writes nothing."""
    with pytest.raises(UsageError) as caught:
        materialize("mnist-mpl", tmp_path)
    assert all(demo.name in str(caught.value) for demo in DEMOS)
    assert caught.value.exit_code == 2
    assert not list(tmp_path.iterdir())


@each_demo
def test_faults_point_at_their_lines(demo: Demo, tmp_path: Path) -> None:
    """Every place in the registry is the line that holds the fault or its right counterpart."""
    materialize(demo.name, tmp_path)
    for fault in demo.faults:
        a, b = SAYS[demo.name, fault.code]
        assert a in line_of(tmp_path, fault.a)
        assert b in line_of(tmp_path, fault.b)


def test_every_fault_is_checked() -> None:
    """The table of lines above knows every fault of every demo and no other."""
    assert set(SAYS) == {(demo.name, fault.code) for demo in DEMOS for fault in demo.faults}


@each_demo
def test_the_mended_script_has_no_fault_left(demo: Demo, tmp_path: Path) -> None:
    """None of the faulty code is in b_fixed.py, but for the line that an extra layer merely repeats."""
    materialize(demo.name, tmp_path)
    fixed = (FIXED / demo.name / "b_fixed.py").read_text(encoding="utf-8")
    faulty = [fault for fault in demo.faults if fault.code not in KEPT]
    assert faulty
    for fault in faulty:
        assert line_of(tmp_path, fault.b).strip() not in [line.strip() for line in fixed.splitlines()]


@each_demo
def test_scripts_know_nothing_of_tfdiff(demo: Demo, tmp_path: Path) -> None:
    """The scripts are a user's own: TensorFlow, Keras, NumPy and their data module are all they import."""
    materialize(demo.name, tmp_path)
    for script in [*tmp_path.glob("*.py"), FIXED / demo.name / "b_fixed.py"]:
        tree = ast.walk(ast.parse(script.read_text(encoding="utf-8")))
        names = {
            name.split(".")[0]
            for node in tree
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for name in (
                [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            )
        }
        assert names <= {"tensorflow", "keras", "numpy", "data", "math", "os", "sys", "zipfile"}


def test_the_stand_in_is_the_same_everywhere(data: ModuleType) -> None:
    """The stand-in's bytes are fixed, so traces of a demo from two machines can be compared."""
    images, digits = data.stand_in(1200, seed=1)
    assert (images.shape, images.dtype, digits.shape, digits.dtype) == ((1200, 28, 28), np.uint8, (1200,), np.uint8)
    assert hashlib.sha256(images.tobytes() + digits.tobytes()).hexdigest() == (
        "1111fbdb2e4e0e7efea9659cdc0ed407ea58de138fc17c9f8b06796827e9d6a4"
    )


def test_the_stand_in_looks_like_digits(data: ModuleType) -> None:
    """Every digit occurs, no two images are equal, and the nearest class mean tells most test images apart."""
    images, digits = data.stand_in(1200, seed=1)
    others, wanted = data.stand_in(400, seed=2)
    assert set(digits) == set(range(10))
    assert len({image.tobytes() for image in images}) == 1200
    means = np.array([images[digits == digit].mean(axis=0) for digit in range(10)])
    found = ((others[:, None].astype(float) - means) ** 2).sum(axis=(2, 3)).argmin(axis=1)
    assert 0.5 < (found == wanted).mean() < 1


@pytest.mark.parametrize("batch", [32, 128])
def test_the_last_batch_is_not_full(data: ModuleType, batch: int) -> None:
    """Dropping the last partial batch must show, so the rows do not divide by the batch sizes in use."""
    assert data.TRAIN_ROWS % batch != 0


def test_without_a_file_the_stand_in_is_named(
    data: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A machine without MNIST gets the stand-in and is told so on stderr, twice the same."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "none"))
    first, second = data.load_data(), data.load_data()
    assert all(
        np.array_equal(x, y)
        for part, again in zip(first, second, strict=True)
        for x, y in zip(part, again, strict=True)
    )
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("data: a stand-in for MNIST (there is no ")


def test_a_file_that_is_there_is_used(
    data: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """KERAS_HOME's mnist.npz is taken, cut to the demo's rows, and named."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "datasets").mkdir()
    draw = np.random.RandomState(0)
    x, y = draw.randint(0, 256, (2000, 28, 28)).astype(np.uint8), draw.randint(0, 10, 2000).astype(np.uint8)
    np.savez(tmp_path / "datasets" / "mnist.npz", x_train=x, y_train=y, x_test=x[::-1], y_test=y[::-1])
    (x_train, y_train), (x_test, y_test) = data.load_data()
    assert np.array_equal(x_train, x[: data.TRAIN_ROWS])
    assert np.array_equal(y_train, y[: data.TRAIN_ROWS])
    assert np.array_equal(x_test, x[::-1][: data.TEST_ROWS])
    assert np.array_equal(y_test, y[::-1][: data.TEST_ROWS])
    assert "data: MNIST from" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 cut off"])
def test_a_damaged_file_falls_back(
    data: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    content: bytes,
) -> None:
    """An unreadable mnist.npz is said to be unreadable and the stand-in is used."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "mnist.npz").write_bytes(content)
    (x_train, _), _ = data.load_data()
    assert np.array_equal(x_train, data.stand_in(data.TRAIN_ROWS, seed=1)[0])
    assert "cannot be read" in capsys.readouterr().err
