from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("record", "--passes", "1", "--reference", "a.h5", "b.py"), "--passes 1 with --reference"),
        (("report", "a.h5", "b.h5", "-o", "r.html"), "tfdiff report"),
        (("bundle", "a.h5", "b.h5", "-o", "b.zip"), "tfdiff bundle"),
    ],
)
def test_what_is_not_built_names_itself(tfdiff, arguments, named):
    """What this version does not have: exit code 2, one line that names it and says what this version does."""
    ran = tfdiff(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"tfdiff: not built yet: {named} (")
    assert "; this version " in ran.err
    assert ran.err.count("\n") == 1
