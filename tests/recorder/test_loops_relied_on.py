"""What `loop_hooks` and `gradient_hooks` rely on in TensorFlow: a test per touch."""

from __future__ import annotations

import inspect

import numpy as np

from tfdiff.recorder.gradient_hooks import _is_public_call


def test_loops_over_datasets_are_looked_up(tf, monkeypatch):
    """Autograph asks `for_loop_registry.lookup` how to run a `for` over a dataset, each time it traces one."""
    from tensorflow.python.autograph.operators import control_flow

    seen, original = [], control_flow.for_loop_registry.lookup
    monkeypatch.setattr(control_flow.for_loop_registry, "lookup", lambda obj: seen.append(obj) or original(obj))
    rows = tf.data.Dataset.range(3)

    @tf.function
    def total():
        found = tf.constant(0, tf.int64)
        for row in rows:
            found += row
        return found

    assert int(total()) == 3
    assert seen == [rows]


def test_the_loop_over_an_iterator_takes_the_same_arguments(tf):
    """`_tf_iterator_for_stmt` runs what the dataset's own statement runs, break included."""
    from tensorflow.python.autograph.operators import control_flow
    from tensorflow.python.data.ops import dataset_autograph

    theirs, ours = (
        list(inspect.signature(function).parameters)[1:]
        for function in (dataset_autograph._tf_ag_dataset_for_stmt, control_flow._tf_iterator_for_stmt)
    )
    assert theirs == ours
    assert hasattr(iter(tf.data.Dataset.range(2)), "get_next_as_optional")


def test_while_loops_are_told_how_many_iterations_may_overlap(tf, monkeypatch):
    """`tf.while_loop` in a function hands `parallel_iterations` to `while_v2.while_loop` by name."""
    from tensorflow.python.ops import while_v2

    seen, original = [], while_v2.while_loop

    def spy(*args, **kwargs):
        seen.append(kwargs["parallel_iterations"])
        return original(*args, **kwargs)

    monkeypatch.setattr(while_v2, "while_loop", spy)
    assert int(tf.function(lambda: tf.while_loop(lambda i: i < 3, lambda i: (i + 1,), (0,)))()[0]) == 3
    assert seen == [10]


def test_gradients_come_through_the_helper(tf, monkeypatch):
    """`tf.gradients` calls `_GradientsHelper` from its own module; backward passes of functions do not."""
    from tensorflow.python.ops import gradients_util

    seen, original = [], gradients_util._GradientsHelper

    def _GradientsHelper(*args, **kwargs):  # noqa: N802 - its name
        seen.append((len(args), _is_public_call()))
        return original(*args, **kwargs)

    monkeypatch.setattr(gradients_util, "_GradientsHelper", _GradientsHelper)
    w = tf.Variable(2.0)
    assert float(tf.function(lambda: tf.gradients(w * w, [w]))()[0]) == 4.0
    assert [public for _, public in seen] == [True]
    assert seen[0][0] >= 3, "targets, variables and given gradients come by position"
    seen.clear()
    square = tf.function(lambda: w * w)
    with tf.GradientTape() as tape:
        value = square()
    assert float(tape.gradient(value, w)) == 4.0
    assert not any(public for _, public in seen)


def test_jacobian_asks_the_tape_itself(tf):
    """`GradientTape.jacobian(target, sources)` returns one array per source, the target's axes first."""
    w = tf.Variable(np.ones((2, 3), "float32"))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(w, 0)
    (found,) = tape.jacobian(value, [w])
    assert found.shape == (3, 2, 3)


def test_dynamic_rnn_builds_its_loop_in_a_function_of_its_own(tf, monkeypatch):
    """`_dynamic_rnn_loop` is looked up when `dynamic_rnn` is called, and the flag of control flow is read behind it."""
    from tensorflow.python.ops import control_flow_util, rnn

    v1, seen, original = tf.compat.v1, [], rnn._dynamic_rnn_loop

    def loop(*args, **kwargs):
        seen.append(args)
        monkeypatch.setattr(control_flow_util, "ENABLE_CONTROL_FLOW_V2", True)
        return original(*args, **kwargs)

    class Cell:
        state_size = output_size = 2
        zero_state = None

        def __call__(self, x, state, scope=None):  # noqa: ARG002 - as cells are called
            return x + state, x + state

    monkeypatch.setattr(rnn, "_dynamic_rnn_loop", loop)
    monkeypatch.setattr(control_flow_util, "ENABLE_CONTROL_FLOW_V2", False)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [3, 4, 2])
        v1.nn.dynamic_rnn(Cell(), x, initial_state=tf.zeros([3, 2]))
    assert len(seen) == 1
    assert {op.type for op in graph.get_operations()} & {"While", "StatelessWhile"}
