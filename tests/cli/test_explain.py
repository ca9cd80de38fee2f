from __future__ import annotations

import pytest

REQUIRED = ("dropout-rate", "activation", "training-flag", "loss-from-logits", "lr")


def test_list(tfdiff):
    """Without a code all codes are listed, one a line."""
    ran = tfdiff("explain")
    assert ran.code == 0
    assert set(REQUIRED) <= set(ran.out.split())


@pytest.mark.parametrize("code", REQUIRED)
def test_page(tfdiff, code):
    """Every code has a page that names it."""
    ran = tfdiff("explain", code)
    assert ran.code == 0
    assert code in ran.out
    assert len(ran.out.splitlines()) > 5


def test_unknown_code(tfdiff):
    """An unknown code names its nearest neighbour, exit code 2."""
    ran = tfdiff("explain", "dropout-rat")
    assert (ran.code, ran.out) == (2, "")
    assert "did you mean dropout-rate" in ran.err
