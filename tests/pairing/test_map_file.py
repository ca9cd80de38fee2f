"""The file of pairs that a user gives: what is read from it, and what is said of one that is wrong."""

from __future__ import annotations

import dataclasses
import json
import sys

import pytest

from tfdiff.errors import UsageError
from tfdiff.model import Site, Variable
from tfdiff.orders import MapEntry, PairMap
from tfdiff.pairing.map_file import map_from_json, read_map
from tfdiff.pairing.map_names import site_names, variable_names
from tfdiff.pairing.toml import loads, loads_part

WHOLE = """\
# pairs
unpaired = [{a = "frozen"}, {a = "x", b = 'y'}]

[[variable]]
a = "dense/kernel"  # the first
b = "w:0"
permutation = [1, 0]
a_part = [[[0, 4]], [[8, 16], [24, 32]]]
b_part = [
    [[0, 4]],
    [[0, 16]],
]
offset = -1
evidence = "by hand"

[[site]]
a = "dense"
b = "tf.matmul#1"
"""


def test_everything_an_entry_can_say(tmp_path):
    """Names, layout and parts come out as they stand; evidence is the writer's and not read."""
    file = tmp_path / "pairs.toml"
    file.write_text(WHOLE)
    (variable,) = read_map(file).variables
    assert (variable.a, variable.b, variable.permutation) == ("dense/kernel", "w:0", (1, 0))
    assert variable.a_part == (((0, 4),), ((8, 16), (24, 32)))
    assert variable.b_part == (((0, 4),), ((0, 16),))
    assert variable.offset == -1.0
    assert [(site.a, site.b) for site in read_map(file).sites] == [("dense", "tf.matmul#1")]
    assert [(entry.a, entry.b) for entry in read_map(file).unpaired] == [("frozen", None), ("x", "y")]


def test_a_map_survives_json(tmp_path):
    """A run of its own gets the map as JSON and has the same one."""
    file = tmp_path / "pairs.toml"
    file.write_text(WHOLE)
    read = read_map(file)
    assert map_from_json(json.loads(json.dumps(dataclasses.asdict(read)))) == read
    assert map_from_json(dataclasses.asdict(PairMap())) == PairMap()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = ", "no TOML"),
        ('[[variables]]\na = "x"', "found 'variables'"),
        ('[variable]\na = "x"\nb = "y"', "as an array of entries"),
        ('[[variable]]\na = "x"', "variable 1: expected the names a and b, found no b"),
        ('[[site]]\na = "x"\nb = "y"\n[[site]]\nb = "y"', "site 2: expected the names a and b, found no a"),
        ("[[unpaired]]", "unpaired 1: expected the names a, b or both"),
        ('[[variable]]\na = 3\nb = "y"', "variable 1: expected a name for a, found 3"),
        ('[[variable]]\na = ""\nb = "y"', "variable 1: expected a name for a, found ''"),
        ('[[variable]]\na = "x"\nb = "y"\ntranspose = true', "variable 1: expected"),
        ('[[site]]\na = "x"\nb = "y"\npermutation = [1, 0]', "site 1: expected"),
        ('[[variable]]\na = "x"\nb = "y"\npermutation = [1, 2]', "variable 1: expected the axes 0 to n - 1"),
        ('[[variable]]\na = "x"\nb = "y"\npermutation = "10"', "variable 1: expected the axes 0 to n - 1"),
        ('[[variable]]\na = "x"\nb = "y"\na_part = [0, 4]', "a_part: expected for each axis"),
        ('[[variable]]\na = "x"\nb = "y"\na_part = [[[4, 0]]]', "a_part: expected a range"),
        ('[[variable]]\na = "x"\nb = "y"\noffset = true', "variable 1: expected a number as offset"),
        ("variable = [3]", "variable 1: expected an entry with a and b"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, text, said):
    """The message names the file and the entry, and what was expected of it."""
    file = tmp_path / "pairs.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as raised:
        read_map(file)
    message = str(raised.value)
    assert str(file) in message
    assert said in message
    assert "\n" not in message


def test_a_file_that_cannot_be_read(tmp_path):
    """A missing file, a folder and other bytes than text are named."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    for file in (tmp_path / "none.toml", tmp_path, binary):
        with pytest.raises(UsageError, match=str(file)):
            read_map(file)


GOOD = [
    WHOLE,
    "",
    "# only",
    'a = "\\u00e9\\n\\"q\\\\"',
    "x = [\n1,\n2\n,]\n",
    "x=[[]]",
    "x=[ [1],[2] ]",
    "a = {}",
    "1 = 2",
    '"a b" = 3',
    "a = [+3, -0.5, 1e5, 1_000, true, false]",
    "[t]\nx = true",
    "a = 'C:\\x'\r\nb = 1\r\n",
]
BAD = [
    "a = 1 2",
    'a = "x',
    "a = [1",
    "[[v]\n",
    "a = 1\na = 2",
    'a = "\\q"',
    'a = "\\ud800"',
    "= 3",
    "a",
    "v = 1\n[[v]]\n",
    "[v]\n[v]\n",
    "a = 01",
    'a = "\x01"',
    "a = 1\rb=2",
    "[[v]] a = 1",
    "a = truely",
    "a = ]]",
]


@pytest.mark.parametrize("text", GOOD)
def test_part_of_toml_is_read_as_all_of_it(text):
    """What Python 3.10 reads by itself is what `tomllib` reads."""
    if sys.version_info < (3, 11):
        pytest.skip("nothing to compare with")
    assert loads_part(text) == loads(text)


@pytest.mark.parametrize("text", BAD)
@pytest.mark.parametrize("read", [loads, loads_part])
def test_what_is_no_toml_is_refused(read, text):
    """Both readers refuse it."""
    with pytest.raises(ValueError, match=r".+"):
        read(text)


@pytest.mark.parametrize("text", ["a.b = 1", 'a = """x"""', "a = 1979-05-27", "a = 07:32:00", "[a.b]", "a = 0x1f"])
def test_what_the_part_does_not_know_is_refused_with_its_line(text):
    """TOML that no map needs is never misread."""
    with pytest.raises(ValueError, match="at line 2"):
        loads_part(f"# first\n{text}\n")


def variables(*names):
    """Variables of these names."""
    return variable_names([Variable(n, name, (2,), "float32", True, "weight") for n, name in enumerate(names)])


def test_a_name_may_be_given_by_its_end():
    """Whole name first, then an end at a slash, then any end; the `:0` of TF1 may be left out."""
    names = variables("net/dense/kernel", "net/my_dense/kernel", "net/dense_1/kernel", "w:0", "kernel")
    for text, index in [("dense/kernel", 0), ("1/kernel", 2), ("w", 3), ("kernel", 4), ("my_dense/kernel", 1)]:
        assert names.find(text, "here") == index


def test_an_end_of_several_names_is_ambiguous():
    """The message lists what it could be."""
    names = variables("a/dense/kernel", "b/dense/kernel")
    with pytest.raises(UsageError, match=r"here: 'kernel' is ambiguous.*a/dense/kernel, b/dense/kernel"):
        names.find("kernel", "here")


def test_equal_names_are_numbered():
    """Raw variables that share a name have one of their own each, and the bare name is no guess."""
    names = variables("Variable:0", "Variable:0", "other:0")
    assert [names[n] for n in range(3)] == ["Variable:0#0", "Variable:0#1", "other:0"]
    assert names.find("Variable:0#1", "here") == 1
    with pytest.raises(UsageError, match="ambiguous"):
        names.find("Variable:0", "here")


def test_an_unknown_name_says_what_there_is():
    """The nearest name is offered."""
    with pytest.raises(UsageError, match="here: no variable 'net/dens/kernel'; there is net/dense/kernel"):
        variables("net/dense/kernel").find("net/dens/kernel", "here")


def test_sites_are_told_by_op_and_line(observed):
    """The last tensor of a layer has the layer's name, the others the op's with it; calls are told by their lines."""
    names = site_names(
        observed(
            Site(0, "activation", "forward", "MatMul", layer="net/dense"),
            Site(1, "activation", "forward", "Relu", layer="net/dense", boundary=True),
            Site(2, "activation", "forward", "MatMul", api="tf.matmul", called="b.py:4", boundary=True),
            Site(3, "activation", "forward", "MatMul", api="tf.matmul", called="b.py:9", boundary=True),
        )
    )
    assert [names[n] for n in range(4)] == [
        "net/dense MatMul",
        "net/dense",
        "tf.matmul b.py:4",
        "tf.matmul b.py:9",
    ]
    assert names.find("dense", "here") == 1


@pytest.fixture
def observed():
    """Observations of sites."""
    from tfdiff.model import Observation, Stats

    def make(*sites):
        stats = Stats(0.0, 1.0, 0.5, 1.0, 0, 0, 0)
        return [Observation(n, site, (2, 2), "float32", stats) for n, site in enumerate(sites)]

    return make


def test_entries_are_plain_data():
    """Two entries that say the same are equal: they go through dictionaries and sets."""
    assert len({MapEntry("f, site 1", "x", "y"), MapEntry("f, site 1", "x", "y")}) == 1
