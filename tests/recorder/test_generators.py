"""`ImageDataGenerator.flow`: what was drawn and what was made of it."""

from __future__ import annotations

import importlib
import inspect

import numpy as np
import pytest

from tfdiff.comparison.compare import compare
from tfdiff.comparison.originals import made_rows, whole_sources
from tfdiff.recorder import generator_hooks
from tfdiff.recorder.patching import Patches
from tfdiff.recorder.rowsource import RowSources
from tfdiff.trace.reader import open_trace

SCRIPT = """\
import numpy as np
import tensorflow as tf
from tensorflow.keras.preprocessing.image import ImageDataGenerator

random = np.random.RandomState(5)
x = (random.rand(40, 8, 8, 1) * 255).astype("float32")
y = random.randint(0, 3, 40)
w = tf.Variable(tf.random.stateless_normal([64, 3], [1, 2]) * 0.1)

def step(images, labels):
    with tf.GradientTape() as tape:
        logits = tf.reshape(images, [-1, 64]) @ w
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
    w.assign_sub(1e-4 * tape.gradient(loss, w))

for epoch in range(2):
    BATCHES
        step(tf.constant(images), tf.constant(labels))
"""
PLAIN = """\
for start in range(0, 40, 16):
        images, labels = x[start:start + 16] * (1 / 255), y[start:start + 16]
"""
SHUFFLED = """\
order = np.random.permutation(40)
    for start in range(0, 40, 16):
        images, labels = (x * (1 / 255))[order][start:start + 16], y[order][start:start + 16]
"""


def flow(options: str, *, shuffle: bool = True) -> str:
    """A loop over a generator."""
    generator = f"ImageDataGenerator(rescale=1 / 255, {options})"
    return (
        f"batches = {generator}.flow(x, y, batch_size=16, shuffle={shuffle})\n"
        "    for images, labels in (batches[i] for i in range(len(batches))):\n"
    )


@pytest.fixture
def answer(tfdiff, tmp_path):
    """Record two loops over the same arrays, the second one from an equal start, and compare."""

    def run(a: str, b: str):
        for name, batches in (("a", a), ("b", b)):
            (tmp_path / f"{name}.py").write_text(SCRIPT.replace("BATCHES\n", batches))
        assert tfdiff("record", "-o", "a.h5", "a.py").code == 0
        ran = tfdiff("record", "-o", "b.h5", "--reference", "a.h5", "b.py")
        assert ran.code == 0, ran.err
        with open_trace(tmp_path / "a.h5") as one, open_trace(tmp_path / "b.h5") as other:
            return compare(one, other)

    return run


def kinds(result) -> list[str]:
    """The own differences in words."""
    return [own.summary for own in result.own]


@pytest.mark.parametrize("options", ["rotation_range=40", "horizontal_flip=True", "zoom_range=0.2, shear_range=5"])
def test_one_side_augments(answer, options):
    """Rows that only one side turns, flips or zooms at random are found, whichever side it is; the order is judged by
    the rows drawn.
    """
    plain, augmented = PLAIN, flow(options)
    result = answer(augmented, plain)
    # a flip changes every other row only
    share = "100" if "flip" not in options else ""
    assert kinds(result)[0].startswith(f"ImageDataGenerator.flow changes {share}")
    assert kinds(result)[0].endswith("in a, the other takes them as they are")
    assert kinds(result)[1:] == ["a shuffles the rows, b takes them in the order of the array"]
    assert result.first is None


def test_b_augments(answer):
    """The other way round, and both shuffle: only the augmentation is left."""
    result = answer(SHUFFLED, flow("rotation_range=40"))
    assert kinds(result) == ["ImageDataGenerator.flow changes 100 % of the rows in b, the other takes them as they are"]


@pytest.mark.parametrize("b", [SHUFFLED, flow("")], ids=["loop", "flow"])
def test_a_generator_that_only_scales_is_no_augmentation(answer, b):
    """`rescale` alone gives the rows of the array, scaled: nothing differs from a loop that scales."""
    assert answer(flow(""), b).verdict == "equivalent"


def test_two_generators_are_no_difference(answer):
    """Both augment, each with draws of its own."""
    assert answer(flow("rotation_range=40"), flow("rotation_range=40")).verdict == "equivalent"


def test_the_rows_drawn_are_those_of_the_array(answer, tmp_path):
    """Every row that was fed is known as made, and what it was made from stands in the array, in order."""
    answer(flow("rotation_range=40", shuffle=False), PLAIN)
    with open_trace(tmp_path / "a.h5") as trace:
        made = made_rows(trace, trace.batch_rows)
        ((source, whole),) = whole_sources(trace)
    assert made is not None
    assert (source.name, source.rows, made.changed) == ("ImageDataGenerator.flow", 40, 1.0)
    assert np.array_equal(np.concatenate(made.originals[:3]), whole)


class Recording:
    """As much of a recording as the hooks ask for."""

    class output:  # noqa: N801 - an attribute
        """Not over yet."""

        done = False

        @staticmethod
        def not_recorded(what: str, why: str) -> None:
            """Nothing may be missing."""
            raise AssertionError(f"{what}: {why}")

    class frames:  # noqa: N801 - an attribute
        """Anywhere."""

        @staticmethod
        def here():
            """A place."""
            return type("Code", (), {"called": "a.py:1"})

    def __init__(self) -> None:
        self.rows = RowSources()


@pytest.mark.parametrize("name", generator_hooks.MODULES)
@pytest.mark.usefixtures("tf")
def test_drawing_is_not_disturbed(name):
    """Watched or not, a generator makes the same images from the same random state, with a function of the user's."""
    module = importlib.import_module(name)
    x, y = np.random.RandomState(1).rand(20, 6, 6, 3), np.arange(20)

    def drawn():
        np.random.seed(7)  # noqa: NPY002 - the state that generators draw from
        noisy = {"preprocessing_function": lambda image: image + np.random.rand()}  # noqa: NPY002
        generator = module.ImageDataGenerator(rotation_range=20, horizontal_flip=True, rescale=2.0, **noisy)
        batches = generator.flow(x, y, batch_size=8, sample_weight=np.ones(20))
        found = [next(batches) for _ in range(4)]
        return [part for batch in found for part in batch], np.random.rand()  # noqa: NPY002

    bare, after = drawn()
    patches, recording = Patches(), Recording()
    generator_hooks.install(recording, patches, module)
    watched, after_watched = drawn()
    patches.undo()
    assert all(np.array_equal(one, other) for one, other in zip(bare, watched, strict=True))
    assert after == after_watched
    described = {source.transformed: source for source, _ in recording.rows.described()}
    assert described[None].rows == 20
    assert described[28].rows == 28  # 8 + 8 + 4 rows of a pass and 8 of the next


@pytest.mark.parametrize("name", generator_hooks.MODULES)
@pytest.mark.usefixtures("tf")
def test_relied_on(name):
    """The private parts of Keras that the hooks touch are there."""
    module = importlib.import_module(name)
    draw = module.NumpyArrayIterator._get_batches_of_transformed_samples
    assert list(inspect.signature(draw).parameters) == ["self", "index_array"]
    batches = module.ImageDataGenerator().flow(np.zeros((4, 2, 2, 1)), np.arange(4))
    assert {"x", "y", "x_misc", "sample_weight", "image_data_generator", "dtype"} <= vars(batches).keys() | {"dtype"}
    assert batches.dtype == "float32"
    assert batches.image_data_generator.preprocessing_function is None
