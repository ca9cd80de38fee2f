"""What noise does is measured by a second run: the same batches and draws, weights moved by one unit in the last place;
and what the first run wrote stays as it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tfdiff.recorder.again import plan_again
from tfdiff.trace.reader import open_trace

from .conftest import SWITCHES

EAGER = """\
import numpy as np
import tensorflow as tf

x = np.random.normal(size=(40, 6)).astype("float32")
w = tf.Variable(tf.random.normal((6, 5)))
b = tf.Variable(tf.zeros(5))
for k in range(4):
    rows = np.random.permutation(40)[:16]
    with tf.GradientTape() as tape:
        h = tf.nn.dropout(tf.matmul(x[rows], w) + b, 0.4)
        loss = tf.reduce_mean(tf.square(h))
    for v, g in zip((w, b), tape.gradient(loss, (w, b))):
        v.assign_sub(0.05 * g)
"""
FIT = """\
import keras
import numpy as np

model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8, "relu"), keras.layers.Dropout(0.5)])
model.add(keras.layers.BatchNormalization())
model.add(keras.layers.Dense(1))
model.compile("adam", "mse")
model.fit(np.random.normal(size=(40, 6)), np.random.normal(size=(40, 1)), batch_size=8, epochs=2, verbose=0)
"""
FUNCTION = """\
import tensorflow as tf

w = tf.Variable(tf.random.normal((6, 5)))
data = tf.data.Dataset.from_tensor_slices(tf.random.normal((40, 6))).shuffle(40).batch(8)


@tf.function
def step(x):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(tf.nn.dropout(tf.matmul(x, w), 0.3)))
    w.assign_sub(0.05 * tape.gradient(loss, w))


for x in data:
    step(x)
"""
SESSION = """\
import numpy as np
import tensorflow.compat.v1 as tf

tf.disable_eager_execution()
x = tf.placeholder(tf.float32, (None, 6))
w = tf.Variable(tf.random_normal((6, 5)))
b = tf.Variable(tf.zeros(5))
h = tf.nn.dropout(tf.nn.relu(tf.matmul(x, w) + b), rate=0.4)
loss = tf.reduce_mean(tf.square(h))
train = tf.train.AdamOptimizer(0.01).minimize(loss)
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    for k in range(4):
        session.run(train, {x: np.random.normal(size=(8, 6))})
"""


@pytest.fixture
def calibrate(tmp_path, tfdiff):
    """Record a script given as text with its noise; the trace is a.h5."""

    def run(text: str, *options: object):
        (tmp_path / "a.py").write_text(text)
        return tfdiff("record", "--calibrate", *options, "a.py")

    return run


SCRIPTS = {"eager": EAGER, "fit": FIT, "function": FUNCTION, "session": SESSION}


@pytest.fixture(scope="module")
def unseeded(zygote, tmp_path_factory):
    """Traces of the scripts by name, each recorded once, and what tfdiff had to say."""
    known = {}

    def recorded(name):
        if name not in known:
            folder = tmp_path_factory.mktemp(name)
            (folder / "a.py").write_text(SCRIPTS[name])
            known[name] = (folder / "a.h5", zygote.run("record", "--calibrate", "a.py", cwd=folder))
        return known[name]

    return recorded


@pytest.mark.parametrize("name", SCRIPTS)
def test_unseeded_script(unseeded, name):
    """Without a seed in the script the second run still gets the first one's batches and draws: weights, outputs and
    gradients move by rounding, and by no more.
    """
    path, ran = unseeded(name)
    assert ran.code == 0
    assert ran.talk[-2] == (
        "tfdiff: a second run with weights moved by one ulp, to measure noise; its output is not shown"
    )
    with open_trace(path) as trace:
        assert trace.steps >= 4
        assert trace.not_calibrated == ""
        assert trace.calibrated == trace.steps
        for step in range(trace.steps):
            errors, seen = trace.noise(step), trace.step(step).observations
            assert len(errors) == len(seen)
            assert not np.isnan(errors).any()
            by_role = {role: errors[[o.index for o in seen if o.site.role == role]] for role in ("input", "noise")}
            assert not by_role["input"].any()
            assert len(by_role["noise"])
            assert not by_role["noise"].any()
            gradients = errors[[o.index for o in seen if o.site.role == "weight gradient" and o.size > 1]]
            assert 1e-9 < gradients.max() < 1e-3
        kernels = [v.index for v in trace.variables.values() if v.kind == "weight" and len(v.shape) == 2]
        updates = [trace.update_noise(step)[index] for step in range(trace.steps) for index in kernels]
        assert 1e-9 < max(updates) < 0.1


@pytest.mark.parametrize("name", SCRIPTS)
def test_observed_without_recorder(unseeded, name):
    """A third run without a recorder, unseeded as the script is, ends in the recorded run's weights; the loss of eager
    code is seen as well.
    """
    path, ran = unseeded(name)
    assert ran.talk[-1] == (
        "tfdiff: a third run without recording, to see that recording changes nothing; its output is not shown"
    )
    with open_trace(path) as trace:
        assert trace.observed.why == ""
        assert trace.observed.ok
        assert trace.observed.error < 1e-6
        assert (trace.observed.loss is None) == (name != "eager")


def test_weights_move_by_an_ulp(unseeded):
    """Each element of a weight moves by about one unit in the last place, of its own or of the tensor's size; a bias of
    zeros by one of the kernel's; moving statistics do not move.
    """
    path, _ = unseeded("fit")
    with open_trace(path) as trace:
        moved = plan_again(trace, move=True).plan.weights
        still = plan_again(trace, move=False).plan.weights
        eps = np.finfo(np.float32).eps
        scales = {}
        for index, wanted in moved.items():
            variable, start = trace.variables[index], trace.value_after(index, -1)
            by = np.abs(wanted.over(start).astype(np.float64) - start)
            assert (still[index].over(start) == start).all()
            if variable.kind == "state":
                assert not by.any()
                continue
            size = float(np.sqrt(np.mean(np.square(start))))
            scales[variable.name] = by.max()
            assert (by > 0.4 * eps * np.maximum(np.abs(start), size)).all()
            assert (by < 4 * eps * max(np.abs(start).max(), 1.0)).all()
        kernel = next(name for name in scales if name.endswith("/dense/kernel"))
        bias = next(name for name in scales if name.endswith("/dense/bias"))
        assert 0.1 * scales[kernel] < scales[bias] < scales[kernel]


WRITES = """\
import os
import numpy as np
import tensorflow as tf

with open("log.txt", "a") as log:
    log.write("began\\n")
with open("old.txt", "w") as stream:
    stream.write(str(np.random.rand()))
os.mkdir("checkpoints")
w = tf.Variable(tf.random.normal((3, 2)))
checkpoint = tf.train.Checkpoint(w=w)
for k in range(3):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(tf.matmul(tf.random.normal((4, 3)), w)))
    w.assign_sub(0.1 * tape.gradient(loss, w))
    checkpoint.write("checkpoints/model")
    np.save(f"weights-{k}.npy", w.numpy())
    with open(f"run/{os.getpid()}.txt", "w") as stream:
        stream.write("mine")
"""


def contents(folder):
    """Every file below a folder but the trace, by name."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".h5", ".pyc")
    }


def test_what_the_first_run_wrote_stays(tmp_path, calibrate, tfdiff):
    """Checkpoints, logs that are appended to and files that are overwritten are the first run's, the second run finds
    none of them, and nothing of its own is left.
    """
    (tmp_path / "log.txt").write_text("old\n")
    (tmp_path / "old.txt").write_text("old")
    (tmp_path / "untouched.txt").write_text("untouched")
    (tmp_path / "run").mkdir()
    ran = calibrate(WRITES + "print(float(tf.reduce_sum(w)))\n", "--steps", 0)
    assert ran.code == 0
    with open_trace(tmp_path / "a.h5") as trace:
        assert trace.not_calibrated == ""
        assert trace.calibrated == 3
        last = trace.value_after(0, 2)
    assert (tmp_path / "log.txt").read_text() == "old\nbegan\n"
    assert (np.load(tmp_path / "weights-2.npy") == last).all()
    assert len(list((tmp_path / "run").iterdir())) == 1
    names = {"a.py", "log.txt", "old.txt", "untouched.txt", *(f"weights-{k}.npy" for k in range(3))}
    assert {name for name in contents(tmp_path) if "/" not in name} == names
    assert float(ran.out) == pytest.approx(float(last.sum()), rel=1e-5)
    again = (
        "import tensorflow as tf\nw = tf.Variable(tf.zeros((3, 2)))\n"
        "tf.train.Checkpoint(w=w).read('checkpoints/model').assert_consumed()\nprint(w.numpy().tolist())\n"
    )
    (tmp_path / "read.py").write_text(again)
    assert tfdiff("record", "read.py").out.strip() == str(last.tolist())


def test_second_run_fails(tmp_path, calibrate):
    """A script that cannot run twice: one line, a trace as good as without the second run, the script's exit code."""
    outside = tmp_path.parent / f"{tmp_path.name}-ran"
    ran = calibrate(f"import pathlib\npathlib.Path({str(outside)!r}).touch(exist_ok=False)\n{EAGER}")
    outside.unlink()
    assert ran.code == 0
    assert ran.talk[-1].startswith("tfdiff: the second run: it left no trace (exit code")
    assert ran.talk[-1].endswith("noise is not known")
    assert "Traceback" not in ran.err
    with open_trace(tmp_path / "a.h5") as trace:
        assert (trace.steps, trace.end.why) == (4, "script ended")
        assert trace.calibrated == 0
        assert trace.noise(0) is None
        assert "it left no trace" in trace.not_calibrated


def test_second_run_ends_early(tmp_path, calibrate):
    """A second run that ends in the middle: what it measured is kept, and how far it came."""
    outside = tmp_path.parent / f"{tmp_path.name}-ran"
    head = f"import pathlib\nseen = pathlib.Path({str(outside)!r}).exists()\npathlib.Path({str(outside)!r}).touch()\n"
    ran = calibrate(head + EAGER.replace("    rows", "    if seen and k == 2:\n        raise SystemExit(3)\n    rows"))
    outside.unlink()
    assert ran.code == 0
    assert ran.talk[-1] == (
        "tfdiff: the second run: it ended after 2 steps: script failed with exit code 3; noise is known of 2 steps"
    )
    with open_trace(tmp_path / "a.h5") as trace:
        assert (trace.steps, trace.calibrated) == (4, 2)
        assert trace.noise(1) is not None
        assert trace.noise(2) is None


def test_second_run_is_fed_otherwise(tmp_path, calibrate):
    """Where batches come from a source that tfdiff cannot make equal, nothing is passed off as noise."""
    script = EAGER.replace('np.random.normal(size=(40, 6)).astype("float32")', "tf.random.normal((40, 6)).numpy()")
    ran = calibrate("import os\n" + script.replace("0.05 *", "int.from_bytes(os.urandom(1), 'big') / 1000 *"))
    assert ran.code == 0
    with open_trace(tmp_path / "a.h5") as trace:
        assert trace.calibrated in (0, 1, 4)


def test_failed_script_is_not_run_again(tmp_path, calibrate):
    """A script that fails is not run a second time."""
    ran = calibrate(EAGER + "raise SystemExit(7)\n", "--steps", 0)
    assert ran.code == 7
    assert "second run" not in ran.err
    with open_trace(tmp_path / "a.h5") as trace:
        assert trace.not_calibrated is None


def test_options(tmp_path, calibrate, tfdiff):
    """One pass, and a recording against a reference, are no further runs; asking for both is bad usage."""
    assert calibrate(EAGER, "--quiet").talk == []
    for options in (("--passes", 1), ("--no-calibrate",)):
        ran = tfdiff("record", "-o", "b.h5", "--force", *options, "a.py")
        assert "second run" not in ran.err
        with open_trace(tmp_path / "b.h5") as trace:
            assert trace.not_calibrated is None
    for options in (("--passes", 1), ("--reference", "a.h5")):
        ran = tfdiff("record", "-o", "b.h5", "--force", "--calibrate", *options, "a.py")
        assert ran.code == 2
        assert "--calibrate" in ran.err


FEELS = """
functions = step.get_concrete_function(tf.zeros((8, 6))).graph.get_operations()
rate = 0.05 if any("Enqueue" in op.type for op in functions) else 0.5
"""


def test_recording_that_changes_the_run(tmp_path, calibrate, tfdiff):
    """A script that computes something else because it is recorded (it looks for the taps in its function) is told as
    a fault of tfdiff, with its size, while recording, in the trace and in a comparison.
    """
    script = FUNCTION.replace("0.05 * tape", "rate * tape").replace("\n\n@tf", "\nrate = tf.Variable(0.0)\n\n@tf")
    script = script.replace("\n\nfor x", FEELS.replace("rate = ", "rate.assign(").rstrip() + ")\n\nfor x")
    ran = calibrate(script)
    assert ran.code == 0
    assert ran.talk[-1].startswith("tfdiff: without recording Variable ends otherwise (relative error 0.")
    with open_trace(tmp_path / "a.h5") as trace:
        assert trace.calibrated == trace.steps
        assert trace.observed.ok is False
        assert trace.observed.error > 0.01
    assert tfdiff("record", "-o", "b.h5", "--quiet", "--reference", "a.h5", "a.py").code == 0
    compared = tfdiff("diff", "a.h5", "b.h5", "--json", "-")
    observer = json.loads(compared.out)["tolerance"]["observer"]
    assert observer["ok"] is False
    assert observer["error"] > 0.01
    assert "Recording changes a: without it Variable ends otherwise" in tfdiff("diff", "a.h5", "b.h5").out


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_ended_in_the_second_run(tmp_path, sent):
    """Ctrl-C in a further run ends that run alone: exit code 0, everything in its place. A kill there loses nothing
    either.
    """
    seen, started = tmp_path.parent / f"{tmp_path.name}-seen", tmp_path.parent / f"{tmp_path.name}-started"
    head = (
        f"import pathlib, time\nseen = pathlib.Path({str(seen)!r})\nif seen.exists():\n"
        f"    pathlib.Path({str(started)!r}).touch()\n    time.sleep(30)\nseen.touch()\nopen('log.txt', 'w').close()\n"
    )
    (tmp_path / "a.py").write_text(head + EAGER)
    command = [sys.executable, "-m", "tfdiff", "record", "a.py"]
    with subprocess.Popen(command, cwd=tmp_path, env=os.environ | SWITCHES, stderr=subprocess.PIPE, text=True) as ran:
        until = time.monotonic() + 120
        while not started.exists() and time.monotonic() < until:
            time.sleep(0.05)
        assert started.exists()
        assert (tmp_path / "log.txt").exists()
        ran.send_signal(sent)
        _, said = ran.communicate(timeout=60)
    with open_trace(tmp_path / "a.h5") as trace:
        assert (trace.steps, trace.end.why) == (4, "script ended")
        assert trace.calibrated == 0
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "a.py", "log.txt"]
        if sent != signal.SIGKILL:
            assert ran.returncode == 0
            assert said.splitlines()[-1] == "tfdiff: the second run: interrupted; noise is not known"
            assert "Traceback" not in said
            assert trace.not_calibrated == "interrupted"
    for path in (seen, started):
        path.unlink()
