"""As `zygote.py`, but every recording against a reference is followed by an isolated pass over joints chosen here.

A joint is any pair of tensors with the same op, or of two ops that the file `joints.json` names: [[op of a, op of b]].
"""

from __future__ import annotations

import functools
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import zygote

from tfdiff.model import Isolation, Joint
from tfdiff.recorder import launch

if TYPE_CHECKING:
    from tfdiff.model import Site
    from tfdiff.trace.reader import Trace


def plan(a: Trace, b: Trace) -> Isolation:
    """Joints at the last outputs of the ops that `joints.json` names."""
    joints = []
    for ops in json.loads(Path("joints.json").read_text()):
        one, other = (site_of(trace, op) for trace, op in zip((a, b), ops, strict=True))
        joints.append(Joint(one.id, (other.op, other.output, other.layer, other.called, other.api, other.occurrence)))
    return Isolation(tuple(joints))


def site_of(trace: Trace, op: str) -> Site:
    """The last stored output of an op in the first step's forward pass."""
    seen = [o.site for o in trace.step(0).observations if o.site.role == "activation" and o.site.op == op and o.stored]
    return seen[-1]


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.path[0] = str(Path(sys.executable).parent)
    launch.record = functools.partial(launch.record, plan_isolation=plan)
    zygote.serve()
