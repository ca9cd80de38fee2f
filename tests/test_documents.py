"""Documents that must agree with the code."""

from __future__ import annotations

import re
from pathlib import Path

from tfdiff.trace.schema import markdown

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- schema: begin -->\n", "<!-- schema: end -->"


def test_schema_in_architecture():
    """ARCHITECTURE.md holds the trace format as the code defines it (`.ci/schema` writes it there)."""
    page = (ROOT / "ARCHITECTURE.md").read_text()
    assert page.partition(BEGIN)[2].partition(END)[0] == markdown()


def test_every_room_is_on_the_page():
    """Each package and module at the top of tfdiff/ is in ARCHITECTURE.md."""
    page = (ROOT / "ARCHITECTURE.md").read_text()
    rooms = {f"{path.name}/" for path in (ROOT / "tfdiff").iterdir() if (path / "__init__.py").exists()}
    rooms |= {path.name for path in (ROOT / "tfdiff").glob("*.py") if not path.name.startswith("_")}
    assert {room for room in rooms if f"`{room}`" not in page} == set()


def test_links_lead_somewhere():
    """Every relative link in a document names a file of the repository."""
    for page in ROOT.glob("*.md"):
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (ROOT / link).exists(), f"{page.name}: {link}"
