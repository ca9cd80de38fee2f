"""TensorFlow 1 graphs and sessions in a `tfdiff.record` block: what is a step, and what the script must not notice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import tfdiff
from tfdiff.errors import NoStepsError
from tfdiff.trace.reader import open_trace

if TYPE_CHECKING:
    from types import ModuleType

X = np.random.RandomState(1).normal(size=(48, 12)).astype("float32")
Y = np.random.RandomState(2).randint(0, 4, size=48).astype("int64")


class Net:
    """Dense, dropout by a condition, dense in a graph of its own; `ref`: variables of the old kind."""

    def __init__(self, tf: ModuleType, *, ref: bool = False, control_flow_v2: bool = True) -> None:
        self.v1 = tf.compat.v1
        toggle = self.v1.enable_control_flow_v2 if control_flow_v2 else self.v1.disable_control_flow_v2
        self.graph = tf.Graph()
        toggle()
        try:
            with self.graph.as_default(), self.v1.variable_scope("net", use_resource=not ref):
                self._build(tf)
        finally:
            self.v1.enable_control_flow_v2()

    def _build(self, tf: ModuleType) -> None:
        v1 = self.v1
        v1.set_random_seed(7)
        self.x, self.y = v1.placeholder(tf.float32, [None, 12]), v1.placeholder(tf.int64, [None])
        self.training = v1.placeholder_with_default(False, [])
        self.w, self.v = v1.get_variable("w", [12, 16]), v1.get_variable("v", [16, 4])
        h = tf.nn.relu(tf.matmul(self.x, self.w))
        h = v1.cond(self.training, lambda: tf.nn.dropout(h, rate=0.25), lambda: h)
        self.logits = tf.matmul(h, self.v)
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=self.y, logits=self.logits)
        self.loss = tf.reduce_mean(each)
        self.optimizer = v1.train.AdamOptimizer(0.01)
        self.train = self.optimizer.minimize(self.loss)
        self.start = v1.global_variables_initializer()

    def feed(self, step: int, *, training: bool = True) -> dict[object, object]:
        """The rows of a step."""
        rows = slice(16 * step, 16 * step + 16)
        return {self.x: X[rows], self.y: Y[rows], self.training: training}

    def session(self):
        """A session with initialized variables."""
        session = self.v1.Session(graph=self.graph)
        session.run(self.start)
        return session


KINDS = [
    pytest.param({"ref": ref, "control_flow_v2": v2}, id=f"{'ref' if ref else 'resource'}, control flow v{1 + v2}")
    for ref in (False, True)
    for v2 in (False, True)
]


@pytest.mark.parametrize("kind", KINDS)
def test_recording_leaves_the_weights_alone(tf, tmp_path, kind):
    """A session ends with equal weights whether it is recorded or not, in every kind of variable and condition."""

    def train() -> list[np.ndarray]:
        net = Net(tf, **kind)
        with net.session() as session:
            for step in range(3):
                session.run(net.train, net.feed(step))
            return session.run([net.w, net.v])

    plain = train()
    with tfdiff.record(tmp_path / "a.h5", steps=0, quiet=True):
        recorded = train()
    for a, b in zip(plain, recorded, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_recorded_whole(tf, tmp_path, kind):
    """Batch, noise of the taken branch, activations, loss, gradients, rate, slots and weights of each training run."""
    with tfdiff.record(tmp_path / "a.h5", steps=0, quiet=True):
        net = Net(tf, **kind)
        with net.session() as session:
            for step in range(3):
                session.run(net.train, net.feed(step))
            last = session.run([net.w, net.v])
    with open_trace(tmp_path / "a.h5") as trace:
        assert trace.steps == 3
        block = trace.step(2)
        roles = [o.site.role for o in block.observations]
        assert roles.count("noise") == roles.count("loss") == 1
        assert roles.count("weight gradient") == roles.count("applied gradient") == 2
        inputs = [block.array(o.index) for o in block.observations if o.site.role == "input"]
        assert any(np.array_equal(value, X[32:48]) for value in inputs)
        after = {
            trace.variables[o.site.variable].name: block.array(o.index)
            for o in block.observations
            if o.site.role in ("weight", "slot") and not o.site.op
        }
        np.testing.assert_array_equal(after["net/w"], last[0])
        np.testing.assert_array_equal(after["net/v"], last[1])
        assert {"net/net/w/Adam", "net/net/w/Adam_1"} <= set(after) or {"net/w/Adam", "net/w/Adam_1"} <= set(after)
        assert [o["learning_rate"] for o in trace.step(0).info.optimizers] == [pytest.approx(0.01)]
        assert all(o.site.called.startswith("test_sessions.py:") for o in block.observations if o.site.phase == "loss")


def test_other_runs_are_no_steps(tf, tmp_path):
    """Evaluating, reading the loss and saving values between training runs makes no step, and none is lost."""
    with tfdiff.record(tmp_path / "a.h5", steps=0, quiet=True):
        net = Net(tf)
        with net.session() as session:
            for step in range(3):
                session.run(net.loss, net.feed(step))
                session.run([net.train, net.loss], net.feed(step))
                session.run(net.logits, net.feed(0, training=False))
                session.run([net.w, net.v])
    with open_trace(tmp_path / "a.h5") as trace:
        assert trace.steps == 3
        assert [sum(o.site.role == "weight gradient" for o in trace.step(k).observations) for k in range(3)] == [
            2,
            2,
            2,
        ]


def test_two_losses_are_two_steps(tf, tmp_path):
    """Two optimizers with a pass each make two steps, run by run or both in one run."""
    v1 = tf.compat.v1
    with tfdiff.record(tmp_path / "a.h5", steps=0, quiet=True), tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 12])
        w, v = v1.get_variable("w", [12, 3]), v1.get_variable("v", [12, 3])
        losses = [tf.reduce_mean(tf.square(tf.matmul(x, w) - 1.0)), tf.reduce_mean(tf.square(tf.matmul(x, v) + 1.0))]
        sgd = v1.train.GradientDescentOptimizer(0.1)
        trains = [sgd.minimize(losses[0], var_list=[w]), sgd.minimize(losses[1], var_list=[v])]
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            for train in (*trains, trains):
                session.run(train, {x: X[:16]})
    with open_trace(tmp_path / "a.h5") as trace:
        asked = [
            [
                trace.variables[o.site.variable].name
                for o in trace.step(k).observations
                if o.site.role == "weight gradient"
            ]
            for k in range(trace.steps)
        ]
        assert asked == [["w"], ["v"], ["w"], ["v"]]


def test_an_inner_gradient_is_forward(tf, tmp_path):
    """A gradient that only feeds the loss (a penalty) is part of the forward pass, also where it is of a variable."""
    v1 = tf.compat.v1
    with tfdiff.record(tmp_path / "a.h5", steps=0, quiet=True), tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 12])
        w = v1.get_variable("w", [12, 3])
        loss = tf.reduce_mean(tf.square(tf.matmul(x, w) - 1.0))
        loss += 0.1 * tf.reduce_sum(tf.square(v1.gradients(loss, [w])[0]))
        train = v1.train.GradientDescentOptimizer(0.1).minimize(loss)
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            session.run(train, {x: X[:16]})
    with open_trace(tmp_path / "a.h5") as trace:
        assert trace.steps == 1
        assert sum(o.site.role == "weight gradient" for o in trace.step(0).observations) == 1


def test_gradients_nobody_applies_are_no_step(tf, tmp_path):
    """Fetching gradients to look at them is no step where an update of the graph could have taken them."""
    with tfdiff.record(tmp_path / "a.h5", steps=0, quiet=True):
        net = Net(tf)
        with net.graph.as_default():
            shown = [g for g, _ in net.optimizer.compute_gradients(net.loss)]
            net.optimizer.apply_gradients(zip(shown, [net.w, net.v], strict=True))
        with net.session() as session:
            session.run(shown, net.feed(0))
            session.run(net.train, net.feed(0))
    with open_trace(tmp_path / "a.h5") as trace:
        assert trace.steps == 1


def test_the_script_sees_its_own_errors(tf, tmp_path):
    """Wrong feeds, unfetchable things and exhausted datasets raise what they raise without a recording."""
    v1 = tf.compat.v1

    def messages() -> list[str]:
        found = []
        net = Net(tf)
        with net.graph.as_default():
            rows = v1.data.make_one_shot_iterator(tf.data.Dataset.from_tensor_slices(X).batch(40)).get_next()
            square = tf.reduce_mean(tf.square(tf.matmul(rows, net.w)))
            train = v1.train.GradientDescentOptimizer(0.1).minimize(square)
        with net.session() as session:
            session.run(net.train, net.feed(0))
            runs = [
                (net.train, {}),
                (net.train, {net.x: X[:, :5]}),
                (None, {}),
                ([train] * 1, {}),
                (train, {}),
                (train, {}),
            ]
            for fetches, feed in runs:
                try:
                    session.run(fetches, feed)
                except Exception as error:  # noqa: BLE001, PERF203 - any, it is compared
                    found.append(f"{type(error).__name__}: {str(error).splitlines()[0]}")
        return found

    plain = messages()
    assert len(plain) == 4
    with tfdiff.record(tmp_path / "a.h5", steps=0, quiet=True):
        recorded = messages()
    assert recorded == plain


def test_callables_are_recorded(tf, tmp_path):
    """A callable that a session made ahead of time is a run like any other."""
    with tfdiff.record(tmp_path / "a.h5", steps=0, quiet=True):
        net = Net(tf)
        with net.session() as session:
            train = session.make_callable([net.loss, net.train], [net.x, net.y])
            first = train(X[:16], Y[:16])[0]
            assert np.isfinite(first)
    with open_trace(tmp_path / "a.h5") as trace:
        assert trace.steps == 1
        block = trace.step(0)
        assert [float(block.array(o.index)) for o in block.observations if o.site.role == "loss"] == [first]


def test_what_a_session_cannot_hand_out_is_named(tf, tmp_path):
    """Loops of control flow v1 and partial runs are listed as not recorded, with the reason."""
    v1 = tf.compat.v1
    v1.disable_control_flow_v2()
    try:
        with tfdiff.record(tmp_path / "a.h5", steps=0, quiet=True), tf.Graph().as_default():
            x = v1.placeholder(tf.float32, [None, 12])
            w = v1.get_variable("w", [12, 12])
            h = tf.while_loop(lambda n, _: n < 3, lambda n, h: (n + 1, tf.tanh(tf.matmul(h, w))), [0, x])[1]
            loss = tf.reduce_mean(tf.square(h))
            train = v1.train.GradientDescentOptimizer(0.1).minimize(loss)
            with v1.Session() as session:
                session.run(v1.global_variables_initializer())
                session.run(train, {x: X[:16]})
                session.partial_run(session.partial_run_setup([loss], [x]), loss, {x: X[:16]})
    finally:
        v1.enable_control_flow_v2()
    with open_trace(tmp_path / "a.h5") as trace:
        assert trace.steps == 1
        named = {note["what"] for note in trace.header.not_recorded}
        assert "ops inside a while loop of control flow v1" in named
        assert any(what.startswith("Session.partial_run (test_sessions.py:") for what in named)
        losses = [o for o in trace.step(0).observations if o.site.role == "loss"]
        assert len(losses) == 1


def test_a_graph_built_before_recording(tf, tmp_path):
    """A graph whose gradients were asked for before recording began is refused with that reason."""
    net = Net(tf)
    with (
        net.session() as session,
        pytest.raises(NoStepsError, match=r"gradients were asked for before recording began"),
        tfdiff.record(tmp_path / "a.h5", steps=0, quiet=True),
    ):
        session.run(net.train, net.feed(0))


def test_a_fetched_batch_may_be_shared(tmp_path, tfdiff):
    """A script that fetches its dataset's batch and its noise beside the train op gets them from a reference too."""
    script = """
import tensorflow.compat.v1 as tf, numpy as np, sys
tf.disable_v2_behavior()
rows = np.random.RandomState(0).normal(size=(32, 4)).astype('float32')
if len(sys.argv) > 1:
    rows = rows[np.random.RandomState(1).permutation(32)]
x = tf.data.make_one_shot_iterator(tf.data.Dataset.from_tensor_slices(rows).batch(8)).get_next()
w = tf.get_variable('w', [4, 3])
noise = tf.random_normal([8, 3])
train = tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum((tf.matmul(x, w) + noise) ** 2))
with tf.Session() as s:
    s.run(tf.global_variables_initializer())
    for _ in range(4):
        batch, drawn, _ = s.run([x, noise, train])
        print(batch.sum().round(4), drawn.sum().round(4))
"""
    (tmp_path / "a.py").write_text(script)
    first = tfdiff("record", "-o", "a.h5", "--steps", 0, "a.py")
    second = tfdiff("record", "-o", "b.h5", "--steps", 0, "--reference", "a.h5", "a.py", "shuffled")
    assert (first.code, second.code) == (0, 0), second.err
    assert second.out == first.out
    assert tfdiff("diff", "a.h5", "b.h5").code == 0


def test_deprecated_calls_have_their_names(tf, tmp_path):
    """An op is named after the function the script calls, also where TensorFlow warns that it is an old one."""
    v1 = tf.compat.v1
    with tfdiff.record(tmp_path / "a.h5", steps=0, quiet=True), tf.Graph().as_default():
        w = v1.get_variable("w", [3])
        loss = tf.reduce_sum(v1.nn.dropout(w * 2.0, keep_prob=0.5))
        train = v1.train.GradientDescentOptimizer(0.1).minimize(loss)
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            session.run(train)
    with open_trace(tmp_path / "a.h5") as trace:
        assert [o.site.api for o in trace.step(0).observations if o.site.role == "noise"] == ["tf.nn.dropout"]


class Cell:
    """An Elman cell, as `dynamic_rnn` wants them."""

    state_size = output_size = 5

    def __init__(self, v1) -> None:
        self._v1 = v1

    def zero_state(self, rows, dtype):
        """The state before the first step."""
        return self._v1.zeros([rows, 5], dtype)

    def __call__(self, x, state, scope=None):  # noqa: ARG002 - as cells are called
        """One step."""
        w = self._v1.get_variable("w", [9, 5])
        state = self._v1.tanh(self._v1.matmul(self._v1.concat([x, state], 1), w))
        return state, state


def test_iterations_of_dynamic_rnn_are_recorded(tf, tmp_path):
    """Its loop is one of control flow v2 while recording, whatever the script says, with the same numbers."""
    v1 = tf.compat.v1

    def train() -> object:
        with tf.Graph().as_default():
            v1.set_random_seed(3)
            x = v1.placeholder(tf.float32, [None, 3, 4])
            _, state = v1.nn.dynamic_rnn(Cell(v1), x, dtype=tf.float32)
            loss = tf.reduce_mean(tf.square(state - 1.0))
            train = v1.train.GradientDescentOptimizer(0.1).minimize(loss)
            with v1.Session() as session:
                session.run(v1.global_variables_initializer())
                session.run(train, {x: X[:16].reshape(16, 3, 4)})
                return [v.name for v in v1.global_variables()], session.run(v1.global_variables()[0])

    v1.disable_control_flow_v2()
    try:
        name, wanted = train()
        with tfdiff.record(tmp_path / "a.h5", steps=0, quiet=True):
            recorded, found = train()
        assert not v1.control_flow_v2_enabled()
    finally:
        v1.enable_control_flow_v2()
    assert recorded == name
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    with open_trace(tmp_path / "a.h5") as trace:
        assert trace.header.not_recorded == ()
        assert any("dynamic_rnn" in note["what"] for note in trace.header.switched_off)
        ops = [o.site.op for o in trace.step(0).observations if o.site.phase == "forward"]
        assert ops.count("MatMul") == 3


GENERATOR = """
import numpy as np
import tensorflow as tf

rows = np.random.RandomState(0).normal(size=(32, 2)).astype("float32")
g, d = tf.Variable(tf.ones([3, 2])), tf.Variable(tf.ones([2, 1]))


def fake():
    return tf.random.normal([8, 3]) @ g


for k in range(0, 32, 8):
    made = fake()
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(made @ d) + tf.abs(rows[k:k + 8] @ d - 1))
    d.assign_sub(0.1 * tape.gradient(loss, d))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(fake() @ d - 1))
    g.assign_sub(0.1 * tape.gradient(loss, g))
"""
GENERATOR_V1 = """
import numpy as np
import tensorflow.compat.v1 as tf

tf.disable_eager_execution()
rows = np.random.RandomState(0).normal(size=(32, 2)).astype("float32")
x = tf.placeholder(tf.float32, [None, 2])
g, d = tf.Variable(tf.ones([3, 2])), tf.Variable(tf.ones([2, 1]))
made = tf.matmul(tf.random_normal([tf.shape(x)[0], 3]), g)
d_loss = tf.reduce_mean(tf.square(tf.matmul(made, d)) + tf.abs(tf.matmul(x, d) - 1))
g_loss = tf.reduce_mean(tf.square(tf.matmul(made, d) - 1))
optimizer = tf.train.GradientDescentOptimizer(0.1)
trains = optimizer.minimize(d_loss, var_list=[d]), optimizer.minimize(g_loss, var_list=[g])
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    for k in range(0, 32, 8):
        for train in trains:
            session.run(train, {x: rows[k:k + 8]})
"""


def test_noise_of_steps_that_have_a_batch_on_one_side_only(tmp_path, tfdiff):
    """A draw is as long as b's own batch where a's step has none."""
    (tmp_path / "a.py").write_text(GENERATOR)
    (tmp_path / "b.py").write_text(GENERATOR_V1)
    assert tfdiff("record", "--quiet", "--steps", 0, "a.py").code == 0
    assert tfdiff("record", "--quiet", "--steps", 0, "--reference", "a.h5", "b.py").code == 0
    ran = tfdiff("diff", "a.h5", "b.h5")
    assert ran.code == 0, ran.out


def test_a_loop_after_a_loop(tf, tmp_path):
    """What leaves a loop of control flow v1 comes after all that enters it, in whatever order that was built."""
    v1 = tf.compat.v1
    v1.disable_control_flow_v2()
    try:
        with tfdiff.record(tmp_path / "a.h5", steps=0, quiet=True), tf.Graph().as_default():
            x = v1.placeholder(tf.float32, [None, 3, 4])
            _, state = v1.nn.dynamic_rnn(Cell(v1), x, dtype=tf.float32)
            made = tf.TensorArray(tf.float32, size=3)
            loop = [0, state, made]
            body = lambda n, h, made: (n + 1, tf.tanh(h), made.write(n, h))  # noqa: E731
            stacked = tf.while_loop(lambda n, *_: n < 3, body, loop)[2].stack()
            train = v1.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_mean(tf.square(stacked - 1.0)))
            with v1.Session() as session:
                session.run(v1.global_variables_initializer())
                session.run(train, {x: X[:16].reshape(16, 3, 4)})
    finally:
        v1.enable_control_flow_v2()
    with open_trace(tmp_path / "a.h5") as trace:
        forward = [o.site for o in trace.step(0).observations if o.site.phase == "forward"]
        assert [site.role for site in forward].count("input") == 1
        assert [site.op for site in forward].count("MatMul") == 3
