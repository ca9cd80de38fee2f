"""Records pairs of the networks in `scripts/`, each recording once, and compares them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tfdiff

if TYPE_CHECKING:
    from pathlib import Path

    from tfdiff.model import Result

    from .conftest import Zygote


def marks(script: Path) -> dict[str, str]:
    """The lines of a script that end with `# mark: NAME`, as results name them."""
    lines = enumerate(script.read_text().splitlines(), 1)
    return {line.rpartition("# mark: ")[2]: f"{script.name}:{number}" for number, line in lines if "# mark: " in line}


def source(place: str | None) -> str | None:
    """The file of a place."""
    return place.partition(":")[0] if place else None


class Recorder:
    """`layers(script, a, b, fault)` compares network b with a fault against network a, both of one script."""

    def __init__(self, zygote: Zygote, folder: Path) -> None:
        self._zygote, self._folder = zygote, folder

    def path(self, script: Path, name: str, fault: str = "", reference: str = "") -> Path:
        """The trace of a network, against another one where that is named."""
        path = self._folder / f"{script.stem}-{name}-{fault}-{reference}.h5".replace(" ", "_")
        if not path.exists():
            against = ("--reference", self.path(script, reference)) if reference else ()
            options = ("record", "-o", path, "--quiet", "--steps", 2, *against)
            ran = self._zygote.run(*options, script, name, *([fault] if fault else []), cwd=self._folder)
            assert ran.code == 0, ran.err
        return path

    def __call__(self, script: Path, a: str, b: str, fault: str = "") -> Result:
        """Compare."""
        return tfdiff.diff(self.path(script, a), self.path(script, b, fault, a))
