from __future__ import annotations

import dataclasses

import pytest

from tfdiff.model import Place
from tfdiff.orders import Isolated
from tfdiff.reports import text

GOLDEN = """\
DIVERGED at step 0, forward: sequential/dropout (a.py:14) against tf.nn.dropout#1 (b.py:41)

  a         a.py (python 3.11.7, tensorflow 2.21.0)
  b         b.py (the same versions)
  shared    weights 8 of 8, batches yes, noise yes
  compared  10 training steps (a recorded 10, b 12), 0 evaluations
  paired    1 by weight
  isolated  no: what lies behind the first divergence was judged only where it does not hang on it

First divergence: step 0, phase forward
  a  sequential/dropout  op SelectV2  layer dropout  a.py:14  run by a.py:31
  b  tf.nn.dropout#1  op SelectV2  b.py:41
  Mul(., 1.4286) against Mul(., 3.3333)
  error 0.93, tolerance 1.1e-06 (0.93 would have passed)

Causes, in the order in which to mend them
  1. dropout-rate: step 0, forward, confidence 0.99
     b drops 70 %, a drops 30 %
     proof  error 0.93 before, 4e-08 after with a 0.3, b 0.7
     fix    tf.nn.dropout(h, rate=1 - keep_prob)

Without a counterpart
  a  extra
  b  more

Notes
  the rows are shuffled in both

Tolerance: analytic, from the rounding of the arithmetic

Next: tfdiff view a.h5 b.h5
      tfdiff explain dropout-rate"""


def test_whole_text(make_result):
    """The text of a diverged pair, verdict first and next command last, to the letter."""
    assert text.render(make_result()) == GOLDEN


def test_isolated(make_result):
    """Whether b was judged part by part on a's inputs is said in a line, with what could not be made equal."""
    left = ({"what": "slot m", "why": "no variable of the reference is seen to be the same"},)
    done = Isolated(10, unset=(3,), left=left)
    line = "isolated  9 steps of b, each layer judged on a's inputs and weights; 1 thing stayed b's own\n"
    assert line in text.render(make_result(isolation=done))
    none = Isolated(0, left=({"what": "the rest of the isolated pass", "why": "it ended with exit code 1"},))
    line = "isolated  no (it ended with exit code 1): what lies behind the first divergence was judged only where"
    assert line in text.render(make_result(isolation=none))
    assert "isolated" not in text.render(make_result(verdict="equivalent", first=None, divergences=(), causes=()))


def test_next_command_uses_the_typed_paths(make_result):
    """The command to type next names the files as the user named them."""
    assert "Next: tfdiff view run/a.h5 run/b.h5\n" in text.render(make_result(), ("run/a.h5", "run/b.h5"))


def test_equivalent(make_result):
    """An equivalent pair says how much was compared, and names no cause."""
    result = make_result(verdict="equivalent", first=None, divergences=(), causes=())
    rendered = text.render(result)
    assert rendered.startswith("EQUIVALENT within noise: 10 training steps compared\n")
    assert "Causes" not in rendered
    assert rendered.endswith("Next: tfdiff view a.h5 b.h5")


def test_only_own_differences(make_result, make_divergence):
    """Where only b's own data differed, the verdict says so and the place follows."""
    own = make_divergence(phase="data", summary="a shuffles, b does not")
    rendered = text.render(make_result(first=None, divergences=(), own=(own,)))
    assert rendered.startswith("DIVERGED in what b had of its own (data); from an equal start the two agree\n")
    assert "What b had of its own before sharing: data\n" in rendered
    assert "  a shuffles, b does not\n" in rendered


def test_incomparable(make_result):
    """Where nothing pairs, the text sends the reader to the traces themselves."""
    nothing = {"first": None, "divergences": (), "causes": (), "compared": 0}
    result = make_result(verdict="incomparable", rows=make_result().rows[1:], **nothing)
    rendered = text.render(result)
    assert rendered.startswith("NOT COMPARABLE: nothing in the two traces could be paired\n")
    assert rendered.endswith("Next: tfdiff info a.h5; tfdiff info b.h5")


def test_incomparable_although_paired(make_result):
    """Where sites pair and the runs still cannot be judged, the notes have the reason."""
    rendered = text.render(make_result(verdict="incomparable", first=None, notes=("the weights differ",)))
    assert rendered.startswith("NOT COMPARABLE: the notes below say why\n")


def test_agreement_is_not_claimed_without_an_equal_start(make_result, make_divergence):
    """That the rest agrees is said only where all weights were shared."""
    for shared in ({}, {"weights": {"shared": 0, "a": 8, "b": 8}, "batches": True, "noise": True}):
        result = make_result(first=None, divergences=(), own=(make_divergence(phase="init"),), shared=shared)
        assert text.headline(result) == "DIVERGED in what b had of its own (init)"


def test_one_step_is_singular(make_result):
    """One training step is one step."""
    assert "  compared  1 training step (" in text.render(make_result(compared=1))


def test_nothing_shared_is_said(make_result):
    """Without a reference the text says that b started on its own."""
    assert "  shared    nothing, b started on its own" in text.render(make_result(shared={}))


def test_missing_side(make_result, make_divergence):
    """A side that has nothing at the place says so."""
    first = make_divergence(a=None)
    rendered = text.render(make_result(first=first, divergences=(first,)))
    assert rendered.startswith("DIVERGED at step 0, forward: nothing there against tf.nn.dropout#1 (b.py:41)\n")
    assert "\n  a  nothing there\n" in rendered


def test_further_divergences_leave_out_the_first(make_result, make_divergence):
    """The first divergence stands once, the further ones with step and phase."""
    result = make_result()
    later = make_divergence(step=3, phase="state", summary="b never moves it")
    rendered = text.render(dataclasses.replace(result, divergences=(result.first, later)))
    assert rendered.count("Mul(., 1.4286)") == 1
    assert "\n  step 3, state: sequential/dropout (a.py:14) against tf.nn.dropout#1 (b.py:41)\n" in rendered


def test_unexplained_claims_no_proof(make_result):
    """An unexplained cause says that nothing removes the error."""
    result = make_result()
    cause = dataclasses.replace(result.causes[0], code="unexplained", fix="", constants={})
    rendered = text.render(dataclasses.replace(result, causes=(cause,)))
    assert "proof  none: no known cause removes the error of 0.93" in rendered
    assert "tfdiff explain" not in rendered


def test_evidence(make_result):
    """Settings that agree with a cause stand below its proof; an unexplained one says them itself."""
    evidence = ({"key": "rate", "a": 0.3, "b": 0.7}, {"key": "shape\x1b", "a": [1, 2], "b": None})
    cause = dataclasses.replace(make_result().causes[0], evidence=evidence)
    line = "\n     config rate 0.3 in a, 0.7 in b; shape\\x1b 1, 2 in a, None in b\n     fix "
    assert line in text.render(make_result(causes=(cause,)))
    unexplained = dataclasses.replace(cause, code="unexplained")
    assert "config " not in text.render(make_result(causes=(unexplained,)))


def test_switches(make_result):
    """How the two are run stands where it is not the same."""
    result = make_result()
    a, b = (
        dataclasses.replace(result.a_header, switches={"eager mode": on, "float type": "x"}) for on in ("on", "off")
    )
    rendered = text.render(make_result(a_header=a, b_header=b))
    assert "\n  switches  eager mode on in a, off in b\n" in rendered
    assert "switches" not in text.render(make_result(a_header=a, b_header=a))


def test_reasons_stand_once(make_result):
    """What was not shared or recorded stands with its reason, equal entries once."""
    entry = {"what": "noise of b.py:9", "why": "a draws none"}
    rendered = text.render(make_result(not_shared=(entry, entry)))
    assert rendered.count("noise of b.py:9: a draws none") == 1


def test_long_lists_are_cut_with_a_count(make_result):
    """Of many unpaired sites the first are named and the rest counted."""
    result = make_result()
    rows = tuple(dataclasses.replace(result.rows[1], a_name=f"site{index}") for index in range(20))
    assert "site7 and 12 more" in text.render(dataclasses.replace(result, rows=rows))


def test_calibrated_tolerance_is_not_called_analytic(make_result):
    """The tolerance line follows the result."""
    assert "Tolerance: calibrated" in text.render(make_result(tolerance_source="calibrated"))


@pytest.mark.parametrize("hostile", ["\x1b]0;owned\x07", "\u202eevil", "a\nDIVERGED", "\x9b2J", "\udcff"])
def test_strangers_text_cannot_steer_a_terminal(make_result, make_divergence, hostile):
    """Control, bidi and line-breaking characters of a trace never reach the screen as themselves."""
    place = Place(hostile, hostile, hostile, hostile, hostile)
    first = make_divergence(a=place, b=place, summary=hostile)
    header = dataclasses.replace(make_result().a_header, script=hostile, versions={hostile: hostile})
    entry = ({"what": hostile, "why": hostile},)
    result = make_result(
        first=first, divergences=(first,), own=(first,), a_header=header, notes=(hostile,), not_shared=entry
    )
    rendered = text.render(result, (hostile, hostile))
    assert hostile not in rendered
    assert all(character == "\n" or character.isprintable() for character in rendered)


def test_lines_fit_a_page(make_result):
    """Long sentences are wrapped."""
    rendered = text.render(make_result(notes=("word " * 100,)))
    assert max(map(len, rendered.splitlines())) <= text.WIDTH


def test_assumptions(make_result):
    """What b was run without, and what nothing took; under a cause the command that runs b without it, too."""
    result = make_result()
    taken = {"assume": "lr=0.1@b.py:9", "taken": ["SGD 'sgd' at b.py:9"]}
    header = dataclasses.replace(
        result.b_header, assumed=(taken, {"assume": "norm-epsilon=1\x1b", "taken": []}), arguments=("--all",)
    )
    causes = (dataclasses.replace(result.causes[0], assume="dropout-rate=0.3@b.py:41"),)
    shown = text.render(make_result(b_header=header, causes=causes), ("x y/a.h5", "b.h5"))
    assert "  assumed   lr=0.1@b.py:9, taken by SGD 'sgd' at b.py:9\n" in shown
    assert "  assumed   norm-epsilon=1\\x1b, NOT taken by anything, so it changed nothing\n" in shown
    command = "tfdiff record --reference 'x y/a.h5' -o b-assumed.h5"
    assert f"     try    {command} --assume lr=0.1@b.py:9 --assume dropout-rate=0.3@b.py:41 b.py --all\n" in shown


def test_the_command_has_the_script_as_it_was_given(make_result):
    """A trace keeps no folders: where the script was given with one, the command to try a cause has it."""
    causes = (dataclasses.replace(make_result().causes[0], assume="lr=0.1"),)
    shown = text.render(make_result(causes=causes), ("a.h5", "b.h5"), "my demo/b.py")
    assert "--assume lr=0.1 'my demo/b.py'\n" in shown
