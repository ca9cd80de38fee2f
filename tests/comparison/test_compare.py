"""The verdict on two small programs with one planted fault: where it is found, and that nothing else is reported."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .build import LINES, Plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfdiff.comparison.findings import Finding
    from tfdiff.model import Result

    Diff = Callable[..., Result]


def line(part: str, script: str = "b.py") -> str:
    """The line of a part of the network."""
    return f"{script}:{LINES[part]}"


class TestEquivalent:
    def test_another_way_of_writing_is_no_difference(self, diff: Diff) -> None:
        """Folded batch norm, other names and another order of variables agree within rounding."""
        result = diff(steps=6, reference=Plan(steps=6))
        assert (result.verdict, result.first, result.own, result.compared) == ("equivalent", None, (), 6)

    def test_a_run_equals_itself(self, diff: Diff) -> None:
        """The same program twice."""
        assert diff(style="keras", rename=False).verdict == "equivalent"

    def test_a_bias_in_front_of_batch_norm_is_noise(self, diff: Diff) -> None:
        """Its true gradient is zero; what rounding makes of it is said, not blamed."""
        result = diff(reference=Plan(activation="none"), activation="none")
        assert result.verdict == "equivalent"
        assert any("b1" in note and "zero" in note for note in result.notes)

    def test_a_moving_mean_follows_the_noise_of_the_bias_in_front_of_it(self, diff: Diff) -> None:
        """An adaptive optimizer moves a bias without true gradient by full steps, and the moving mean contains it."""
        plan = {"activation": "none", "adaptive": True, "lr": 2e-4}
        assert diff(reference=Plan(**plan), **plan).verdict == "equivalent"

    def test_an_element_on_the_other_side_of_a_kink_is_rounding(self, diff: Diff) -> None:
        """1e-8 and -1e-8 are equal in front of a relu; that only one of them passes a gradient on is no fault."""
        assert diff(reference=Plan(pivot=1e-8), pivot=-1e-8).verdict == "equivalent"

    def test_two_shuffles_of_the_same_rows_are_no_difference(self, diff: Diff) -> None:
        """Both runs shuffle, each in its own way."""
        result = diff(reference=Plan(shuffle=True), shuffle=True)
        assert (result.verdict, result.own) == ("equivalent", ())

    def test_two_draws_of_one_initializer_are_no_difference(self, diff: Diff) -> None:
        """The builder's second program has other initial values of the same distribution."""
        assert diff().own == ()


FORWARD = {
    "dropout rate": ({"rate": 0.7}, "drop", "drop", "Mul", "Mul"),
    "a hundredth of a dropout rate": ({"rate": 0.31}, "drop", "drop", "Mul", "Mul"),
    "other activation": ({"activation": "tanh"}, "act", "act", "Relu", "Tanh"),
    "missing activation": ({"activation": "none"}, "act", "bn", "Relu", "Mean"),
    "missing layer": ({"normalize": False}, "bn", "drop", "Mean", "Mul"),
    "inference mode": ({"training": False}, "bn", "bn", "Mean", "Mul"),
    "epsilon": ({"epsilon": 1e-5}, "bn", "bn", "Rsqrt", "Rsqrt"),
}


class TestForward:
    @pytest.mark.parametrize(("plan", "a", "b", "a_op", "b_op"), FORWARD.values(), ids=FORWARD.keys())
    def test_first_op_behind_the_last_agreement(
        self, diff: Diff, plan: dict[str, object], a: str, b: str, a_op: str, b_op: str
    ) -> None:
        """One divergence, at the layer on one side and the line on the other."""
        result = diff(**plan)
        assert len(result.divergences) == 1
        first = result.divergences[0]
        assert (first.step, first.phase, first.introduced) == (0, "forward", True)
        assert first.a is not None
        assert first.b is not None
        assert (first.a.layer, first.a.op) == (a, a_op)
        assert (first.b.source, first.b.op) == (line(b), b_op)
        assert first.error > first.tolerance

    @pytest.mark.parametrize("coarse", [6e-5, 1e-4, 6e-4])
    def test_a_small_difference_is_found_whatever_the_loss_makes_of_it(self, diff: Diff, coarse: float) -> None:
        """An approximated activation is told where it is: the losses agree, agree almost, or differ."""
        (found,) = diff(coarse=coarse).divergences
        assert (found.step, found.phase, found.a and found.a.layer) == (0, "forward", "act")
        assert found.b is not None
        assert found.b.source == line("act")

    def test_a_difference_that_an_addition_waters_down_is_found(self, diff: Diff) -> None:
        """A thousandth of a branch of one percent: all behind it agrees within tolerance, but not to rounding."""
        result = diff(reference=Plan(branch=0.01, normalize=False), branch=0.01001, normalize=False)
        (found,) = result.divergences
        assert (found.step, found.phase, found.summary) == (0, "forward", "a: Mul(., 0.01); b: Mul(., 0.01001)")
        assert found.error == pytest.approx(1e-3, rel=0.01)

    def test_both_frontiers_hang_on_one_pair(self, diff: Diff) -> None:
        """The finding names the equal tensors that both ops consume, with arrays that agree."""
        seen: list[Finding] = []
        diff(rate=0.5, seen=seen)
        (finding,) = seen
        assert finding.cut is not None
        assert finding.a_observation is not None
        assert finding.b_observation is not None
        assert finding.cut.a in finding.a_observation.inputs
        assert finding.cut.b in finding.b_observation.inputs
        assert finding.cut.equal
        assert finding.pairing is not None
        assert finding.pairing.a_to_b[finding.cut.a].error < 1e-5

    def test_a_bias_that_is_never_added_shows_when_the_others_has_moved(self, diff: Diff) -> None:
        """It starts at zero: equal in step 0, then the op that adds it has no counterpart."""
        result = diff(bias=False)
        first = result.first
        assert first is not None
        assert (first.step, first.phase, first.a and first.a.op, first.b and first.b.op) == (
            1,
            "forward",
            "AddV2",
            "Relu",
        )
        assert any("only one of the two programs uses it" in note for note in result.notes)

    def test_a_bias_that_is_never_added_shows_in_the_global_norm(self, diff: Diff) -> None:
        """All updates differ by its gradient's part of the norm before the bias itself does: told where it is added."""
        first = diff(reference=Plan(clip_norm=1e-3), clip_norm=1e-3, bias=False).first
        assert first is not None
        assert (first.step, first.phase, first.a and first.a.op, first.b and first.b.op) == (
            0,
            "forward",
            "AddV2",
            "MatMul",
        )
        assert "first/b1" in first.summary

    def test_summary_shows_the_constants(self, diff: Diff) -> None:
        """The structural difference in one line."""
        assert diff(rate=0.5).divergences[0].summary == "a: Mul(., 1.4286); b: Mul(., 2)"


class TestLoss:
    def test_sum_instead_of_mean(self, diff: Diff) -> None:
        """Behind the labels it is the loss phase."""
        first = diff(reduction="sum").first
        assert first is not None
        assert (first.phase, first.b and first.b.source) == ("loss", line("loss"))
        assert first.error == pytest.approx(1 - 1 / 64, rel=1e-3)

    def test_penalty_on_one_side(self, diff: Diff) -> None:
        """The other side has nothing behind the last agreement; its place is its loss."""
        seen: list[Finding] = []
        first = diff(reference=Plan(penalty=1e-3), seen=seen).first
        assert first is not None
        assert (first.phase, first.a and first.a.op, first.b and first.b.op) == ("loss", "AddV2", "Mean")
        assert seen[0].kind == "absent"

    def test_penalty_of_another_strength_is_told_where_it_is_made(self, diff: Diff) -> None:
        """Not where it meets the rest of the loss: there all penalties are one number."""
        first = diff(reference=Plan(penalty=1e-3), penalty=2e-3).first
        assert first is not None
        assert first.a is not None
        assert first.b is not None
        assert (first.step, first.phase, first.a.op, first.b.op) == (0, "loss", "Mul", "Mul")
        assert (first.a.source, first.b.source) == (f"a.py:{LINES['first']}", f"b.py:{LINES['first']}")
        assert first.error == pytest.approx(0.5, rel=1e-4)

    def test_what_a_penalty_does_to_the_global_norm_follows_from_it(self, diff: Diff) -> None:
        """The gradient of one weight differs, and all are clipped by the norm: one fault, in the loss."""
        result = diff(reference=Plan(penalty=0.5, clip_norm=1e-3), clip_norm=1e-3)
        assert [divergence.phase for divergence in result.divergences] == ["loss"]

    def test_penalty_is_told_behind_another_fault(self, diff: Diff) -> None:
        """A missing term of the loss is independent of a wrong dropout rate."""
        result = diff(reference=Plan(penalty=1e-3), rate=0.5)
        assert [divergence.phase for divergence in result.divergences] == ["forward", "loss"]

    def test_penalty_of_another_strength_is_told_behind_another_fault(self, diff: Diff) -> None:
        """As independent of it as one that is missing."""
        result = diff(reference=Plan(penalty=1e-3), penalty=2e-3, rate=0.5)
        assert [divergence.phase for divergence in result.divergences] == ["forward", "loss"]
        assert "penalty on first/W1" in result.divergences[1].summary
        assert len(diff(reference=Plan(penalty=1e-3), penalty=1e-3, rate=0.5).divergences) == 1


class TestBackward:
    def test_a_stopped_gradient(self, diff: Diff) -> None:
        """Variables without a gradient on one side, and nothing else."""
        seen: list[Finding] = []
        result = diff(stop=True, seen=seen)
        assert [divergence.phase for divergence in result.divergences] == ["backward"]
        assert seen[0].kind == "missing-gradient"
        assert {result.a_header.script, len(seen[0].also)} == {"a.py", 2}

    def test_a_stopped_gradient_is_told_where_it_is_stopped(self, diff: Diff) -> None:
        """The first op on the way from the weights to the loss that a gradient reaches, and its equal in A."""
        first = diff(stop=True).first
        assert first is not None
        assert first.a is not None
        assert first.b is not None
        assert (first.a.source, first.b.source, first.b.op) == (f"a.py:{LINES['bn']}", f"b.py:{LINES['bn']}", "AddV2")

    def test_what_a_penalty_leaves_of_a_stopped_gradient_follows_from_it(self, diff: Diff) -> None:
        """The penalized weight has a gradient still, which differs: no second fault, and it is not told first."""
        result = diff(reference=Plan(penalty=0.01), penalty=0.01, stop=True)
        assert [(d.phase, d.summary) for d in result.divergences] == [("backward", "first/b1 gets no gradient in b")]

    def test_what_a_stopped_gradient_does_to_the_global_norm_follows_from_it(self, diff: Diff) -> None:
        """The other weights' updates differ by the factor of the norms: no second fault."""
        result = diff(reference=Plan(clip_norm=1e-3), clip_norm=1e-3, stop=True)
        assert [divergence.phase for divergence in result.divergences] == ["backward"]

    def test_what_a_frozen_layer_does_to_the_global_norm_follows_from_it(self, diff: Diff) -> None:
        """One fault: the weight that is not trained."""
        result = diff(reference=Plan(clip_norm=1e-3), clip_norm=1e-3, frozen=("W1",))
        assert [(d.phase, d.summary) for d in result.divergences] == [("update", "first/W1 is not trained in b")]

    def test_an_adaptive_optimizer_takes_back_what_the_global_norm_does(self, diff: Diff) -> None:
        """Of each element another part, so that no one factor relates the updates: still one fault."""
        plan = {"clip_norm": 1e-3, "damping": 1e-4}
        result = diff(reference=Plan(**plan), **plan, frozen=("W1",))
        assert [(d.phase, d.summary) for d in result.divergences] == [("update", "first/W1 is not trained in b")]

    def test_a_wrong_slope(self, diff: Diff) -> None:
        """Where no element lies at a kink, two percent of a gradient are a fault."""
        (found,) = diff(slope=1.02).divergences
        assert (found.step, found.phase) == (0, "backward")
        assert found.error == pytest.approx(0.02, rel=0.05)

    def test_clipping_in_the_optimizer_shows_in_the_backward_pass(self, diff: Diff) -> None:
        """What both optimizers are handed agrees, what they make of it does not."""
        first = diff(reference=Plan(inner_clip=1e-3), inner_clip=2e-3).first
        assert first is not None
        assert (first.step, first.phase, first.error) == (0, "backward", pytest.approx(0.5, rel=1e-4))

    def test_who_clips_makes_no_difference(self, diff: Diff) -> None:
        """The program before it calls its optimizer, or the optimizer: another fault is not told as one of clipping."""
        assert diff(reference=Plan(clip_norm=1e-3), inner_clip=1e-3).verdict == "equivalent"
        first = diff(reference=Plan(clip_norm=1e-3), inner_clip=1e-3, lr=0.06).first
        assert first is not None
        assert (first.step, first.phase) == (0, "update")

    def test_clipping_shows_in_what_the_optimizer_is_handed(self, diff: Diff) -> None:
        """Equal gradients, different applied gradients, different updates: backward."""
        result = diff(clip=0.01)
        assert [(d.step, d.phase) for d in result.divergences] == [(0, "backward")]


class TestUpdate:
    def test_a_hundredth_of_the_learning_rate(self, diff: Diff) -> None:
        """Updates are compared relative to the update, not to the weight."""
        first = diff(lr=0.0505).first
        assert first is not None
        assert (first.step, first.phase, first.b and first.b.source) == (0, "update", line("optimizer"))
        assert first.error == pytest.approx(0.0099, rel=0.01)

    def test_what_only_one_side_has_is_no_row_of_an_update_that_differs(self, diff: Diff) -> None:
        """What a Keras optimizer is handed has no counterpart in an update by hand: unpaired, not introduced."""
        rows = diff(lr=0.06).rows
        alone = [row for row in rows if row.phase == "update" and (row.a is None) != (row.b is None)]
        assert alone
        assert {row.cells[0].status for row in alone} == {"unpaired"}
        both = [row for row in rows if row.phase == "update" and row.a is not None and row.b is not None]
        assert "introduced" in {row.cells[0].status for row in both}

    def test_writes_that_no_hook_saw_show_in_the_next_forward_pass(self, diff: Diff) -> None:
        """A write inside a `tf.cond` leaves no snapshot; what the next step reads tells the update."""
        first = diff(reference=Plan(unsnapped=True), unsnapped=True, lr=0.1).first
        assert first is not None
        assert (first.step, first.phase) == (0, "update")
        assert first.error == pytest.approx(0.5, rel=0.01)

    def test_weight_decay_points_at_the_write_without_counterpart(self, diff: Diff) -> None:
        """The decay is a write of its own, in front of the optimizer's."""
        first = diff(decay=0.004).first
        assert first is not None
        assert (first.phase, first.b and first.b.source) == ("update", "b.py:22")

    def test_a_frozen_layer(self, diff: Diff) -> None:
        """Not trained is not the same as no gradient arriving."""
        seen: list[Finding] = []
        result = diff(frozen=("W1", "b1"), seen=seen)
        assert [divergence.phase for divergence in result.divergences] == ["update"]
        assert seen[0].kind == "frozen"


class TestState:
    def test_momentum_of_the_moving_statistics(self, diff: Diff) -> None:
        """Forward and weights agree, the state moves ten times as fast; reported once, not at every step."""
        result = diff(momentum=0.9)
        assert [(d.step, d.phase) for d in result.divergences] == [(0, "state")]
        assert result.divergences[0].error == pytest.approx(0.9, abs=0.01)

    def test_statistics_that_are_made_and_never_touched(self, diff: Diff) -> None:
        """No step tells them from any other variable; number, shape and initial value do."""
        seen: list[Finding] = []
        (found,) = diff(idle=True, seen=seen).divergences
        assert (found.step, found.phase, found.b and found.b.source) == (0, "state", line("bn"))
        assert (seen[0].kind, len(seen[0].also)) == ("never-moves", 2)

    def test_statistics_behind_a_small_forward_fault_are_a_consequence(self, diff: Diff) -> None:
        """The old value makes what is written agree, though what the batch adds does not."""
        assert [d.phase for d in diff(coarse=0.05, reference=Plan(momentum=0.9995), momentum=0.9995).divergences] == [
            "forward"
        ]

    def test_momentum_is_told_behind_a_bias_of_noise(self, diff: Diff) -> None:
        """What the noise of the bias may do to the moving mean is far less than a wrong momentum does."""
        plan = {"activation": "none", "adaptive": True, "lr": 2e-4}
        result = diff(reference=Plan(**plan), **plan, momentum=0.985)
        assert [(d.step, d.phase) for d in result.divergences] == [(0, "state")]

    def test_statistics_of_inference_mode_are_a_consequence(self, diff: Diff) -> None:
        """A layer that reads its moving statistics does not move them: one divergence, in the forward pass."""
        assert [d.phase for d in diff(training=False).divergences] == ["forward"]

    def test_state_in_front_of_a_forward_fault_is_independent(self, diff: Diff) -> None:
        """The dropout stands behind the batch norm: its momentum is told all the same."""
        assert [d.phase for d in diff(rate=0.5, momentum=0.9).divergences] == ["forward", "state"]


class TestOwn:
    def test_shuffled_against_unshuffled(self, diff: Diff) -> None:
        """Looked up in the whole array that fed the run."""
        seen: list[Finding] = []
        result = diff(shuffle=True, seen=seen)
        assert (result.verdict, result.first) == ("diverged", None)
        assert [(own.phase, finding.kind) for own, finding in zip(result.own, seen, strict=True)] == [
            ("data", "data-shuffle")
        ]
        assert result.own[0].b is not None
        assert result.own[0].b.source == line("fit")

    @pytest.mark.parametrize("shuffle", [True, False])
    def test_order_where_only_the_features_are_a_whole_array(self, diff: Diff, shuffle: bool) -> None:  # noqa: FBT001
        """Labels that were converted on their way in are left out: the features tell the order."""
        result = diff(reference=Plan(whole_labels=False), shuffle=shuffle, whole_labels=False)
        assert [own.b.source for own in result.own if own.b is not None] == ([line("fit")] if shuffle else [])
        assert not any("cannot be told" in note for note in result.notes)

    def test_order_without_whole_arrays_is_not_guessed(self, diff: Diff) -> None:
        """What the steps cannot decide is said."""
        result = diff(shuffle=True, sources=False)
        assert result.own == ()
        assert any("cannot be told" in note for note in result.notes)

    def test_scaled_features(self, diff: Diff) -> None:
        """The scale is measured."""
        seen: list[Finding] = []
        diff(scale=1 / 255, seen=seen)
        assert [finding.kind for finding in seen] == ["data-scale"]
        assert seen[0].numbers["scale"] == pytest.approx(1 / 255, rel=1e-3)

    def test_initializers_of_another_kind(self, diff: Diff) -> None:
        """Random biases against zeros, standard deviation 1 against 0.23: one finding for all variables."""
        seen: list[Finding] = []
        result = diff(init="normal", seen=seen)
        assert [own.phase for own in result.own] == ["init"]
        assert len(seen[0].also) == 4
        assert result.first is None


class TestRows:
    def test_rows_come_in_causal_order_with_a_cell_per_step(self, diff: Diff) -> None:
        """Every row has as many cells as steps were compared."""
        result = diff(rate=0.5)
        phases = [row.phase for row in result.rows]
        order = ("data", "forward", "loss", "backward", "update", "state")
        assert phases == sorted(phases, key=order.index)
        assert {len(row.cells) for row in result.rows} == {result.compared}

    def test_the_first_divergence_is_a_row(self, diff: Diff) -> None:
        """So that the viewer can jump to it."""
        result = diff(rate=0.5)
        (row,) = [row for row in result.rows if row.cells[0].status == "introduced"]
        assert (row.a_name, row.b_name) == ("net/drop Mul", "tf.mul")
        assert result.first is not None
        assert (row.cells[0].a_index, row.cells[0].b_index) == (result.first.a_index, result.first.b_index)

    def test_all_agree_in_equivalent_runs(self, diff: Diff) -> None:
        """No row of a pair says otherwise, and unpaired ones are kept."""
        statuses = [cell.status for row in diff().rows for cell in row.cells]
        assert set(statuses) == {"equal", "unpaired"}
