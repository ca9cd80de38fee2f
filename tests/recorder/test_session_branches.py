"""Conditions of control flow v2 in a session whose branches have no op of their own."""

from __future__ import annotations

import numpy as np

from tfdiff.trace.reader import open_trace

SCRIPT = """
import numpy as np
import tensorflow.compat.v1 as tf

tf.disable_eager_execution()
x = tf.placeholder(tf.float32, [4, 3])
doubled, training = tf.placeholder(tf.bool, []), tf.placeholder(tf.bool, [])
w = tf.Variable(tf.ones([3, 2]))
once, mean = tf.matmul(x, w), tf.Variable(tf.zeros([2]), trainable=False)
twice, moments = 2 * once, tf.reduce_mean(once, 0)
h = tf.cond(doubled, lambda: twice, lambda: once)
h = h - tf.cond(training, lambda: moments, lambda: mean.value())
train = tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(tf.square(h)))
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    for k in range(2):
        session.run(train, {x: np.eye(4, 3) + k, doubled: k == 0, training: True})
"""


def test_branches_that_hand_on_what_they_are_given(tfdiff, tmp_path):
    """The loss is computed from what the branch that was taken was given."""
    (tmp_path / "a.py").write_text(SCRIPT)
    ran = tfdiff("record", "--quiet", "--steps", 0, "a.py")
    assert ran.code == 0, ran.err
    with open_trace(tmp_path / "a.h5") as trace:
        assert trace.header.not_recorded == ()
        for step, factor in enumerate([2, 1]):
            block = trace.step(step)
            (difference,) = [o for o in block.observations if o.site.op == "Sub" and o.site.phase == "forward"]
            given, subtracted = (block.observations[i] for i in difference.inputs)
            assert (given.site.op, subtracted.site.op) == ("Mul" if factor == 2 else "MatMul", "Mean")
            (product,) = [o for o in block.observations if o.site.op == "MatMul" and o.site.phase == "forward"]
            wanted = factor * block.array(product.index)
            np.testing.assert_allclose(block.array(given.index), wanted)


CONDITION = """
import numpy as np
import tensorflow.compat.v1 as tf

tf.disable_eager_execution()
x, training = tf.placeholder(tf.float32, [4, 3]), tf.placeholder(tf.bool, [])
w = tf.Variable(tf.ones([3, 2]))
h = tf.matmul(x, w)
h = tf.cond(training, lambda: tf.square(tf.nn.dropout(h, rate=0.5)), lambda: h)
train = tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(h))
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    for k in range(2):
        session.run(train, {x: np.eye(4, 3) + k, training: True})
"""


def test_what_a_branch_leaves_for_its_gradient_is_no_batch(tfdiff, tmp_path):
    """The backward pass unwraps it with the op that loops over datasets take their batch with."""
    (tmp_path / "a.py").write_text(CONDITION)
    ran = tfdiff("record", "--quiet", "--steps", 0, "a.py")
    assert ran.code == 0, ran.err
    with open_trace(tmp_path / "a.h5") as trace:
        seen = [o.site for o in trace.step(1).observations]
        assert "OptionalGetValue" in {site.op for site in seen}
        assert [site.op for site in seen if site.role == "input"] == ["Leaf"]


SCHEDULE = """
import numpy as np
import tensorflow.compat.v1 as tf

tf.disable_v2_behavior()
x = tf.placeholder(tf.float32, [4, 3])
w = tf.Variable(tf.ones([3, 2]))
done = tf.train.get_or_create_global_step()
rate = tf.train.piecewise_constant(done, [0], [0.5, 0.25])
train = tf.train.GradientDescentOptimizer(rate).minimize(tf.reduce_sum(tf.matmul(x, w)), global_step=done)
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    for k in range(2):
        session.run(train, {x: np.eye(4, 3) + k})
"""


def test_a_rate_that_branches_behind_an_assertion(tfdiff, tmp_path):
    """The conditions of `piecewise_constant` stand behind an assertion: the update is recorded all the same."""
    (tmp_path / "a.py").write_text(SCHEDULE)
    ran = tfdiff("record", "--quiet", "--steps", 0, "a.py")
    assert ran.code == 0, ran.err
    with open_trace(tmp_path / "a.h5") as trace:
        assert trace.header.not_recorded == ()
        (weight,) = [index for index, variable in trace.variables.items() if variable.shape == (3, 2)]
        value = np.ones((3, 2), np.float32)
        for step, rate in enumerate([0.5, 0.25]):
            value = value - rate * (np.eye(4, 3) + step).sum(0)[:, None]
            np.testing.assert_allclose(trace.value_after(weight, step), value)
            seen = [o.site.role for o in trace.step(step).observations if o.site.variable == weight]
            assert "assign" in seen
