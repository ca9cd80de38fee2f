"""Further runs of a script, as processes: what they are told and what the script sees of it."""

from __future__ import annotations

import json

from tfdiff.orders import RecordOptions
from tfdiff.recorder.children import run_child

SCRIPT = """
import json, os, sys
with open("seen.json", "w") as file:
    json.dump({"text": sys.stdin.read(), "bytes": len(os.read(0, 9)), "arguments": sys.argv[1:]}, file)
"""


def test_order_of_any_length(tmp_path, monkeypatch):
    """An order may be longer than an argument of a process; the script finds its own arguments and an empty stdin."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "script.py").write_text(SCRIPT)
    options = RecordOptions(
        "script.py",
        ("-x", "\N{SNOWMAN}"),
        module=False,
        output=tmp_path / "t.h5",
        force=False,
        reference=None,
        share=frozenset(),
        steps=0,
        keep_running=False,
        detail="layers",
        quiet=True,
    )
    assert run_child("scout", options, seed=1, plan="\N{SNOWMAN}" * 300_000) == 2  # it trains nothing
    assert json.loads((tmp_path / "seen.json").read_text()) == {
        "text": "",
        "bytes": 0,
        "arguments": ["-x", "\N{SNOWMAN}"],
    }
