"""How causes read to a person: places, numbers and the APIs of B's own code."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfdiff.causes.scene import Scene, Side
    from tfdiff.model import Place, Site
    from tfdiff.pairing.variables import VariablePair

V1_ARGUMENTS = {"beta_1": "beta1", "beta_2": "beta2", "rho": "decay", "nesterov": "use_nesterov"}
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def plain(text: object) -> str:
    """A stranger's text without characters that steer a terminal or break a line."""
    return "".join(
        c.encode("unicode_escape").decode("ascii") if unicodedata.category(c) in _HIDDEN else c for c in str(text)
    )


def number(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}"


def percent(share: float) -> str:
    """`30 %`."""
    return f"{100 * share:.3g} %"


def line_of(place: Place | None) -> str | None:
    """The place's `file:line`."""
    return None if place is None else place.source or place.called


def at(place: Place | None, *, called: bool = False) -> str:
    """` at b.py:41`, or nothing; `called`: the line that ran the op rather than the one that created the layer."""
    line = line_of(place) if place is None or not called else place.called or place.source
    return f" at {plain(line)}" if line else ""


def named(place: Place | None) -> str:
    """`layer 'bn1'`, an API call, or `the line b.py:24`."""
    if place is None:
        return "nothing"
    if place.layer:
        return f"layer '{plain(place.layer)}'"
    line = line_of(place)
    return f"the line {plain(line)}" if line else plain(place.site)


def b_site(scene: Scene, index: int | None = None) -> Site | None:
    """Where B does it: the given observation's site or the frontier's."""
    index = scene.b.frontier if index is None else index
    return None if index is None else scene.b.observations[index].site


def api_of(site: Site | None) -> str:
    """The API call or layer class of a site, as a user would write it."""
    if site is None:
        return ""
    if site.layer_class:
        return plain(site.layer_class)
    return plain(site.api or "")


def call(site: Site | None, default: str, argument: str) -> str:
    """`tf.nn.dropout(..., rate=0.3)`: B's API with one argument put right."""
    return f"{api_of(site) or default}(..., {argument})"


def argument(class_name: object, key: str) -> str:
    """What an optimizer calls its setting: those of TensorFlow 1 have names of their own for some."""
    return V1_ARGUMENTS.get(key, key) if str(class_name).endswith("Optimizer") else key


def creator(scene: Scene, side: Side) -> str:
    """` at b.py:32`: the line that creates the optimizer, where it is known, else the divergence's place."""
    line = side.optimizer().get("source") or line_of(scene.place(side))
    return f" at {plain(line)}" if line else ""


def optimizer_name(side: Side) -> str:
    """Class of the step's optimizer, or `the update`."""
    found: Any = side.optimizer().get("class")
    return plain(str(found).rsplit(".", 1)[-1]) if found else "the update"


def variables(scene: Scene, limit: int = 3, among: tuple[VariablePair, ...] | None = None) -> str:
    """Names of A's variables that the divergence is about, or of those given."""
    pairs = scene.concerned if among is None else among
    names = [plain(scene.finding.a.variables[p.a].name) for p in pairs if p.a in scene.finding.a.variables]
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
