from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from tfdiff.reports import json as report

TOP = {
    "format",
    "version",
    "verdict",
    "a",
    "b",
    "steps",
    "shared",
    "first",
    "causes",
    "own",
    "divergences",
    "tolerance",
    "not_shared",
    "not_recorded",
    "unpaired",
}
"""The keys CONTRACT.md promises; more may be there, fewer never."""


def test_all_promised_keys(make_result):
    """Every key of CONTRACT.md is there, with format and version first."""
    document = report.document(make_result())
    assert document.keys() >= TOP
    assert list(document)[:2] == ["format", "version"]
    assert (document["format"], document["version"]) == ("tfdiff.diff", 1)


def test_values_as_the_contract_shows_them(make_result):
    """The example of CONTRACT.md comes out as it stands there."""
    document = report.document(make_result())
    assert document["a"]["trace"] == "a.h5"
    assert document["b"]["script"] == "b.py"
    assert document["steps"] == {"a": 10, "b": 12, "compared": 10, "horizon": None}
    assert document["shared"] == {"weights": {"shared": 8, "a": 8, "b": 8}, "batches": True, "noise": True}
    assert document["first"] == {
        "step": 0,
        "phase": "forward",
        "a": {
            "layer": "dropout",
            "site": "sequential/dropout",
            "source": "a.py:14",
            "called": "a.py:31",
            "op": "SelectV2",
        },
        "b": {
            "layer": None,
            "site": "tf.nn.dropout#1",
            "source": "b.py:41",
            "called": "b.py:41",
            "op": "SelectV2",
        },
        "error": 0.93,
        "tolerance": 1.1e-06,
        "noise": None,
        "multiple": None,
        "would_pass": 0.93,
        "introduced": True,
        "summary": "Mul(., 1.4286) against Mul(., 3.3333)",
    }
    (cause,) = document["causes"]
    assert (cause["code"], cause["confidence"], cause["constants"]) == ("dropout-rate", 0.99, {"a": 0.3, "b": 0.7})
    assert (cause["error_before"], cause["error_after"]) == (0.93, 4.0e-08)
    assert cause["assume"] is None
    assert document["b"]["assumed"] == []
    assert document["tolerance"]["source"] == "analytic"


def test_no_observer_is_claimed(make_result):
    """Where no run without a recorder was made there is no result of one."""
    assert report.document(make_result())["tolerance"]["observer"] is None


def test_pairs_say_their_evidence(make_result):
    """Each pair of rows is there with what it rests on."""
    assert report.document(make_result())["pairs"] == [
        {"phase": "update", "a": "dense", "b": "w", "evidence": "weight"}
    ]


def test_evidence_is_there_where_there_is_any(make_result):
    """A cause has the settings that agree with it, floats finite; without them no field."""
    result = make_result()
    assert "evidence" not in report.document(result)["causes"][0]
    evidence = ({"key": "rate", "a": math.nan, "b": 0.7},)
    cause = dataclasses.replace(result.causes[0], evidence=evidence)
    document = report.document(make_result(causes=(cause,)))
    assert document["causes"][0]["evidence"] == [{"key": "rate", "a": "nan", "b": 0.7}]


def test_unpaired_sites_are_named_by_side(make_result):
    """A site without a counterpart stands under its own side."""
    assert report.document(make_result())["unpaired"] == {"a": ["extra"], "b": ["more"]}


def test_one_sided_place_is_null(make_result, make_divergence):
    """A missing layer leaves null on its side."""
    document = report.document(make_result(first=make_divergence(a=None)))
    assert document["first"]["a"] is None
    assert document["first"]["b"]["site"] == "tf.nn.dropout#1"


def test_nothing_shared_still_counts_weights(make_result):
    """Without a reference nothing was shared, and the weights of both sides are counted from the rows."""
    shared = report.document(make_result(shared={}))["shared"]
    assert shared == {"weights": {"shared": 0, "a": 2, "b": 2}, "batches": False, "noise": False}


def test_not_finite_numbers_are_strings(make_result, make_divergence):
    """NaN and Infinity become the strings nan and inf, wherever they stand."""
    result = make_result(first=make_divergence(error=math.inf, tolerance=math.nan))
    text = report.render(result)
    document = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert (document["first"]["error"], document["first"]["tolerance"]) == ("inf", "nan")


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (-math.inf, "-inf"),
        (np.float32("nan"), "nan"),
        (np.float64(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array([1.0, np.inf]), [1.0, "inf"]),
        ({"a": (1, None)}, {"a": [1, None]}),
        (True, True),
    ],
)
def test_finite(value, wanted):
    """NumPy's values become python's, the rest stays as it is."""
    got = report.finite(value)
    assert got == wanted
    assert type(got) is type(wanted)


def test_text_is_ascii(make_result):
    """Control characters and letters beyond ASCII are escaped: a name cannot steer a terminal."""
    text = report.render(make_result(notes=("\x1b[2J \u202e \u00fc",)))
    assert text.isascii()
    assert "\x1b" not in text
    assert json.loads(text)["notes"] == ["\x1b[2J \u202e \u00fc"]
