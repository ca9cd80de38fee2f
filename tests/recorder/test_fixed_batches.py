"""Programs that rely on the number of rows in a batch."""

import json

SCRIPT = """
import numpy as np
import tensorflow as tf

x = np.random.default_rng(2).normal(size=(50, 3)).astype("float32")
w = tf.Variable(tf.ones([3, 1]))
data = tf.data.Dataset.from_tensor_slices(x).batch(20, drop_remainder=DROP)


def step(rows):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((rows @ w - 1.0) ** 2)
    w.assign_sub(0.1 * tape.gradient(loss, w))


for epoch in range(2):
    for rows in data:
        STEP(rows)
"""


def record(tfdiff, tmp_path, step):
    """Both variants, a with a last batch of 10 rows, b without it."""
    for name, drop in (("a", "False"), ("b", "True")):
        (tmp_path / f"{name}.py").write_text(SCRIPT.replace("DROP", drop).replace("STEP", step))
    assert tfdiff("record", "--steps", "0", "a.py").code == 0
    ran = tfdiff("record", "--steps", "0", "--reference", "a.h5", "b.py")
    assert (ran.code, ran.err.count("Traceback")) == (0, 0), ran.err
    return json.loads(tfdiff("diff", "a.h5", "b.h5", "--json", "-").out)


def test_drop_remainder_is_respected_in_eager_code(tfdiff, tmp_path):
    """A short batch is not written over one whose size the dataset promises; the steps behind it are not judged."""
    result = record(tfdiff, tmp_path, "step")
    assert result["first"] is None
    assert [cause["code"] for cause in result["causes"]] == ["data-dropped-batch"]


def test_drop_remainder_is_respected_in_compiled_code(tfdiff, tmp_path):
    """The same where the step is a tf.function with that size traced in."""
    result = record(tfdiff, tmp_path, "tf.function(step)")
    assert result["first"] is None
    assert [cause["code"] for cause in result["causes"]] == ["data-dropped-batch"]
