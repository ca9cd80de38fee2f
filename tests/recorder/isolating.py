"""As `zygote.py`, but every recording against a reference is followed by an isolated pass over joints chosen here.

The file `joints.json` names them: [[op of a, op of b]].
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import zygote

from tfdiff.comparison import isolation
from tfdiff.orders import Isolation, Joint

if TYPE_CHECKING:
    from tfdiff.model import Site
    from tfdiff.trace.reader import Trace


def plan(a: Trace, b: Trace, **_: bool) -> Isolation:
    """Joints at all outputs of the ops that `joints.json` names, in order."""
    joints = []
    for ops in json.loads(Path("joints.json").read_text()):
        for one, other in zip(*(sites_of(trace, op) for trace, op in zip((a, b), ops, strict=True)), strict=True):
            key = (other.op, other.output, other.layer, other.called, other.api, other.occurrence)
            joints.append(Joint(one.id, key))
    return Isolation(tuple(joints))


def sites_of(trace: Trace, op: str) -> list[Site]:
    """The stored first outputs of an op in the first step's forward pass."""
    seen = (o for o in trace.step(0).observations if o.site.role == "activation" and o.stored)
    return [o.site for o in seen if o.site.op == op and o.site.output == 0]


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.path[0] = str(Path(sys.executable).parent)
    isolation.plan_isolation = plan
    zygote.serve()
