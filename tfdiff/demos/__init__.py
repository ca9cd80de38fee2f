"""The seed pairs: two scripts each that should agree and do not, as their users would write them.

The folders beside this file hold the scripts. They are data, not modules: nothing here imports them, `materialize`
copies them to where they can be run. `shared/` goes along with every pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from tfdiff.errors import UsageError

SHARED = ("data.py",)
"""Files of `shared/` that every demo imports."""


@dataclass(frozen=True)
class Fault:
    """One thing in which b differs from a, known because it was put (or left) there."""

    code: str
    """Cause code as `tfdiff explain` has it."""
    a: str
    """Place in a, `a.py:24`."""
    b: str
    """Place in b, `b.py:69`."""
    whose: Literal["seed", "port"]
    """seed: the question or text the demo is made from has it. port: it came in with the port to today's TensorFlow."""
    what: str
    """One line for people."""


@dataclass(frozen=True)
class Demo:
    """A pair of scripts and what differs between them, from the front of the pipeline to its end."""

    name: str
    title: str
    files: tuple[str, ...]
    """Files of the folder `name`; the first one is a, the second one b."""
    faults: tuple[Fault, ...]
    steps: int = 10
    """Training steps that `tfdiff demo` records."""


DEMOS: tuple[Demo, ...] = (
    Demo(
        "mnist-mlp-tf2",
        "Keras fit against raw variables and a tape, 'same architecture': the one learns, the other does not",
        ("a.py", "b.py"),
        (
            Fault(
                "data-shuffle", "a.py:24", "b.py:69", "seed", "fit shuffles the rows, b takes them in order every epoch"
            ),
            Fault(
                "data-dropped-batch", "a.py:24", "b.py:68", "seed", "floor() drops the last batch, which is not full"
            ),
            Fault(
                "init-distribution", "a.py:16", "b.py:40", "seed", "weights and biases drawn with standard deviation 1"
            ),
            Fault(
                "dropout-rate",
                "a.py:17",
                "b.py:56",
                "port",
                "keep_prob 0.7 handed to tf.nn.dropout as rate, a drops 0.3",
            ),
            Fault("arch-extra-layer", "a.py:20", "b.py:53", "seed", "num_layers = 5 hidden layers, a has 2"),
        ),
    ),
    Demo(
        "mnist-mlp",
        "Keras fit against a TF1 session, as asked: 'if I put num_layers = 5, the accuracy drops to 20%'",
        ("a.py", "b.py"),
        (
            Fault("data-shuffle", "a.py:24", "b.py:80", "seed", "fit shuffles the rows, b feeds slices in order"),
            Fault(
                "data-dropped-batch", "a.py:24", "b.py:79", "seed", "floor() drops the last batch, which is not full"
            ),
            Fault(
                "init-distribution", "a.py:16", "b.py:43", "seed", "weights and biases drawn with standard deviation 1"
            ),
            Fault("arch-extra-layer", "a.py:20", "b.py:55", "seed", "num_layers = 5 hidden layers, a has 2"),
            Fault("optimizer-epsilon", "a.py:23", "b.py:67", "seed", "AdamOptimizer's epsilon is 1e-8, Keras' 1e-7"),
        ),
    ),
    Demo(
        "iceberg",
        "A Keras CNN against tf.layers and contrib's batch norm in a session: loss 0.2 here, 0.7 there",
        ("a.py", "b.py"),
        (
            Fault("dropout-rate", "a.py:16", "b.py:53", "seed", "keep probability 0.8 taken for the rate, a drops 0.2"),
            Fault("dropout-rate", "a.py:22", "b.py:58", "seed", "and so in the five other dropouts"),
            Fault("arch-width", "a.py:47", "b.py:79", "seed", "two output units, a has one with a sigmoid"),
            Fault("optimizer-epsilon", "a.py:50", "b.py:82", "seed", "AdamOptimizer's epsilon is 1e-8, Keras' 1e-7"),
            Fault(
                "state-updates-not-run",
                "a.py:14",
                "b.py:82",
                "seed",
                "nobody runs UPDATE_OPS: the moving statistics never change",
            ),
        ),
        steps=3,
    ),
    Demo(
        "augmentation",
        "ImageDataGenerator.flow into fit against a tape loop over the same arrays: only a augments and shuffles",
        ("a.py", "b.py"),
        (
            Fault("data-augmentation", "a.py:39", "b.py:29", "seed", "b feeds the rows as they are, a augments them"),
            Fault("data-shuffle", "a.py:39", "b.py:29", "seed", "flow shuffles the rows, b's dataset does not"),
        ),
    ),
    Demo(
        "mnist-cnn",
        "Keras fit against a tape loop over tf.data: the same network, only the shuffle differs",
        ("a.py", "b.py"),
        (Fault("data-shuffle", "a.py:26", "b.py:28", "seed", "fit shuffles the rows, b's dataset does not"),),
    ),
    Demo(
        "custom-layer",
        "A custom Keras layer against the same layer in plain TensorFlow: initializer and learning rate differ",
        ("a.py", "b.py"),
        (
            Fault(
                "init-distribution",
                "a.py:19",
                "b.py:33",
                "port",
                "w has standard deviation 1, Keras' random_normal has 0.05",
            ),
            Fault("lr", "a.py:36", "b.py:48", "port", "learning rate 0.01, Keras' 'adam' has 0.001"),
        ),
    ),
)
"""Every demo. A further one is a folder, an entry here and a mended b in tests/demos/fixed/."""

DEFAULT = DEMOS[0].name
"""What `tfdiff demo` without a name shows."""


def find(name: str) -> Demo:
    """Return the demo of that name.

    Raises
    ------
    UsageError
        There is none; the message names those there are.
    """
    for demo in DEMOS:
        if demo.name == name:
            return demo
    known = ", ".join(demo.name for demo in DEMOS)
    msg = f"no demo is called {name!r}; the demos are {known} (`tfdiff demo --list`)"
    raise UsageError(msg)


def materialize(name: str, directory: Path | str) -> tuple[Path, Path]:
    """Copy a demo's scripts into a directory, which is made if need be, and return the paths of a and b.

    A file that is there already and equal is left alone, so a second call into the same directory is harmless.

    Raises
    ------
    UsageError
        No such demo; a file of that name but with other content is in the way; the directory cannot be written.
    """
    demo = find(name)
    root = resources.files(__name__)
    sources = {file: root / demo.name / file for file in demo.files} | {file: root / "shared" / file for file in SHARED}
    contents = {file: source.read_bytes() for file, source in sources.items()}
    target = Path(directory)
    try:
        target.mkdir(parents=True, exist_ok=True)
        present = {file for file in contents if (target / file).exists()}
        changed = sorted(file for file in present if (target / file).read_bytes() != contents[file])
        if changed:
            msg = (
                f"{target} already holds {', '.join(changed)} with other content than the demo {name}; "
                "choose another directory or move them away"
            )
            raise UsageError(msg)
        for file in contents.keys() - present:
            (target / file).write_bytes(contents[file])
    except OSError as error:
        why = error.strerror or error
        msg = f"the demo {name} needs a directory to write its scripts to; {target} cannot be used: {why}"
        raise UsageError(msg) from error
    return target / demo.files[0], target / demo.files[1]
