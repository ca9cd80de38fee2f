"""Scripts that never train, fail, stop or misbehave: the message, the exit code, and what is kept of their steps."""

from __future__ import annotations

import pytest

from tfdiff.trace.reader import open_trace

HEAD = """\
import sys
import tensorflow as tf

w = tf.Variable([[1.0], [2.0]], name="w")


def step(x):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(tf.matmul(x, w)))
    w.assign_sub(0.1 * tape.gradient(loss, w))


x = tf.constant([[1.0, 2.0], [3.0, 4.0]])
"""
KERAS = """\
import sys
import numpy as np
import tensorflow as tf

model = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(2)])
model.compile("sgd", "mse")


class Callback(tf.keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 2:
            {action}


model.fit(np.ones((24, 3)), np.ones((24, 2)), batch_size=4, verbose=0, callbacks=[Callback()])
print("after")
"""


@pytest.fixture
def record(tmp_path, tfdiff):
    """Record a script given as text; the trace is a.h5."""

    def run(text: str, *options: object):
        (tmp_path / "a.py").write_text(text)
        return tfdiff("record", *options, "a.py")

    return run


def steps(tmp_path) -> tuple[int, bool, int | None]:
    """Steps in the trace, whether it is complete, the script's exit code."""
    with open_trace(tmp_path / "a.h5") as trace:
        return trace.steps, trace.end.complete, trace.end.exit_code


def test_uses_tensorflow_but_never_trains(tmp_path, record):
    """Ops without a gradient of a variable: one line that says so, exit code 2, no trace."""
    ran = record(HEAD + "print(step is None, float(tf.reduce_sum(x)))\n")
    assert (ran.code, ran.out) == (2, "False 10.0\n")
    (line,) = ran.talk
    assert "a.py" in line
    assert "training step" in line
    assert "gradient" in line
    assert "Traceback" not in ran.err
    assert not (tmp_path / "a.h5").exists()


def test_gradient_of_a_constant_is_no_step(record):
    """A tape that only asks for the gradient of its input trains nothing."""
    ran = record(HEAD + "with tf.GradientTape() as t:\n    t.watch(x)\n    y = x * x\nt.gradient(y, x)\n")
    assert ran.code == 2
    assert len(ran.talk) == 1


V1 = (
    "import tensorflow.compat.v1 as tf\ntf.disable_eager_execution()\n"
    "v = tf.Variable(1.0)\ntrain = tf.train.GradientDescentOptimizer(0.1).minimize(v * v)\n"
    "s = tf.Session()\ns.run(tf.global_variables_initializer())\n"
)


def test_session_that_fails_in_step_3(tmp_path, record):
    """A script of sessions that raises: its own traceback and code, and the steps that were complete."""
    ran = record(V1 + "for k in range(6):\n    s.run(train)\n    if k == 2:\n        s.run(tf.constant(1) // 0)\n")
    assert ran.code == 1
    assert "InvalidArgumentError" in ran.err
    assert "recorder/session" not in ran.err  # (below the script, TensorFlow itself tells who called it)
    assert ran.talk[-1] == "tfdiff: 3 steps in a.h5"
    assert steps(tmp_path) == (3, False, 1)


def test_session_that_never_trains(tmp_path, record):
    """A session without training and without a forward pass: one line, exit code 2, no trace."""
    ran = record(V1 + "print(s.run(v))\n")
    assert (ran.code, ran.out) == (2, "1.0\n")
    assert len(ran.talk) == 1
    assert not (tmp_path / "a.h5").exists()


def test_training_in_a_thread(record):
    """Only the main thread is recorded; a script that trains elsewhere gets the message, not a half trace."""
    ran = record(
        HEAD + "import threading\nt = threading.Thread(target=step, args=(x,))\nt.start()\nt.join()\nprint('done')\n"
    )
    assert (ran.code, ran.out) == (2, "done\n")
    assert len(ran.talk) == 1


@pytest.mark.parametrize(
    ("ending", "code"), [("raise ValueError('no rows')", 1), ("sys.exit(5)", 5), ("sys.exit('no rows')", 1)]
)
def test_ends_before_any_step(tmp_path, record, ending, code):
    """A script that ends on its own before it trains: its words and its code, and no trace that holds nothing."""
    ran = record(f"{HEAD}{ending}\n")
    assert ran.code == code
    assert ("no rows" in ran.err) == (code == 1)
    assert "tfdiff/recorder" not in ran.err
    assert not (tmp_path / "a.h5").exists()


@pytest.mark.parametrize(
    ("ending", "code"), [("raise ValueError('no rows')", 1), ("sys.exit(5)", 5), ("raise KeyboardInterrupt", 130)]
)
def test_ends_in_step_3(tmp_path, record, ending, code):
    """What was complete before is kept, and the trace knows how the script ended."""
    ran = record(f"{HEAD}for k in range(6):\n    if k == 3:\n        {ending}\n    step(x)\n", "--steps", 0)
    assert ran.code == code
    assert "tfdiff/recorder" not in ran.err
    assert ran.talk[-1] == "tfdiff: 3 steps in a.h5"
    assert steps(tmp_path) == (3, False, code)


def test_ends_between_gradient_and_update(tmp_path, record):
    """A step whose update never came is no step."""
    text = HEAD.replace(
        "    w.assign_sub(", "    calls.append(1)\n    if len(calls) == 3:\n        sys.exit(4)\n    w.assign_sub("
    )
    ran = record(text + "calls = []\nfor _ in range(5):\n    step(x)\n")
    assert ran.code == 4
    assert steps(tmp_path) == (2, False, 4)


@pytest.mark.parametrize(("action", "code"), [("raise ValueError('full')", 1), ("sys.exit(6)", 6)])
def test_ends_inside_fit(tmp_path, record, action, code):
    """The same inside `fit`, where a callback ends the script after its third batch."""
    ran = record(KERAS.format(action=action))
    assert (ran.code, ran.out) == (code, "")
    assert steps(tmp_path) == (3, False, code)
    assert ("ValueError: full" in ran.err) == (code == 1)


def test_stops_after_its_steps(tmp_path, record):
    """The script is stopped where its last wanted step is complete: nothing behind it runs, exit code 0."""
    ran = record(HEAD + "for k in range(6):\n    print(k)\n    step(x)\nsys.exit(9)\n", "--steps", 2)
    assert ran.code == 0
    assert ran.out.split()[:2] == ["0", "1"]
    assert len(ran.out.split()) <= 3
    assert steps(tmp_path) == (2, True, 0)
    assert "Traceback" not in ran.err


def test_keep_running(tmp_path, record):
    """With --keep-running it goes on to its own end and its own exit code."""
    ran = record(HEAD + "for k in range(6):\n    print(k)\n    step(x)\nsys.exit(9)\n", "--steps", 2, "--keep-running")
    assert (ran.code, ran.out.split()) == (9, list("012345"))
    assert steps(tmp_path)[0] == 2


def test_stop_is_no_exception_of_the_users(record):
    """`except Exception` does not catch the stop; `finally` and exit handlers of `with` run."""
    text = HEAD + (
        "try:\n    for k in range(6):\n        try:\n            step(x)\n        except Exception as e:\n"
        "            print('caught', e)\nfinally:\n    print('cleaned')\nprint('not reached')\n"
    )
    ran = record(text, "--steps", 2)
    assert (ran.code, ran.out) == (0, "cleaned\n")


def test_script_that_swallows_everything(tmp_path, record):
    """A bare `except` around the training loop keeps the script alive; the trace is whole all the same."""
    text = (
        HEAD + "for k in range(4):\n    try:\n        step(x)\n    except:\n        print('swallowed')\nprint('end')\n"
    )
    ran = record(text, "--steps", 2)
    assert ran.code == 0
    assert ran.out.endswith("end\n")
    assert steps(tmp_path)[0] == 2


def test_warnings_name_the_users_line(record):
    """A warning that Keras raises about a layer names the user's line, as it does without a recording."""
    text = HEAD + "tf.keras.Sequential([\n    tf.keras.layers.Dense(2, input_shape=(3,)),\n])\nstep(x)\n"
    ran = record(text)
    assert ran.code == 0
    assert "tfdiff/recorder" not in ran.err
    assert "input_shape" in ran.err


def test_reference_and_a_script_that_fails(tmp_path, record, tfdiff):
    """With --reference: a script that fails shows its own traceback once, and ends with its own code."""
    ran = record(HEAD + "step(x)\nstep(x)\n")
    assert ran.code == 0
    (tmp_path / "b.py").write_text(HEAD + "print('here')\nraise ValueError('broken')\n")
    ran = tfdiff("record", "--reference", "a.h5", "b.py")
    assert (ran.code, ran.out) == (1, "here\n")
    assert ran.err.count("ValueError: broken") == 1
    assert not (tmp_path / "b.h5").exists()


def test_reference_without_a_step(tmp_path, record, tfdiff):
    """A script that trains not at all cannot start like one that does: one line, exit code 2."""
    assert record(HEAD + "step(x)\n").code == 0
    (tmp_path / "b.py").write_text("import tensorflow\nprint('here')\n")
    ran = tfdiff("record", "--reference", "a.h5", "b.py")
    assert (ran.code, ran.out) == (2, "here\n")
    assert "training step" in ran.talk[-1]


def test_header_names_no_folder(tmp_path, record):
    """No absolute path of the machine gets into a trace: the script is named without its folder."""
    (tmp_path / "a.py").write_text("")
    assert record(HEAD + "step(x)\n").code == 0
    raw = (tmp_path / "a.h5").read_bytes()
    assert str(tmp_path).encode() not in raw
    with open_trace(tmp_path / "a.h5") as trace:
        assert trace.header.script == "a.py"
        assert trace.header.arguments == ()
