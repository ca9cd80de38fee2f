"""Pairing variables: which of a is which of b, judged on small programs with known answers."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tfdiff.errors import TfdiffError
from tfdiff.model import Header, Site, StepInfo
from tfdiff.pairing.variables import (
    VariablePair,
    VariableUse,
    convert,
    convert_back,
    pair_from_json,
    pair_variables,
    uses_of,
    variable_uses,
)
from tfdiff.trace.reader import open_trace
from tfdiff.trace.records import Record
from tfdiff.trace.writer import TraceWriter

from .programs import Program, keras_norm, mlp, norm_variables, raw_norm

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def found(a: Program, b: Program) -> dict[int, int]:
    """Index pairs."""
    return {pair.a: pair.b for pair in pair_variables(a.uses(), b.uses())}


def only(a: Program, b: Program) -> VariablePair:
    """The one pair of two programs."""
    (pair,) = pair_variables(a.uses(), b.uses())
    return pair


def test_same_network_pairs_everything() -> None:
    """A Keras-like and a raw perceptron pair one to one, whatever the order of creation."""
    a, b = mlp(13, 64, 64, 32, 3), mlp(13, 64, 64, 32, 3, add="AddV2", biases_last=True)
    assert found(a, b) == {0: 0, 1: 4, 2: 1, 3: 5, 4: 2, 5: 6, 6: 3, 7: 7}


def test_evidence_says_what_it_rests_on() -> None:
    """The evidence names shape, order and consumer."""
    a, b = mlp(784, 128, 10), mlp(784, 128, 10)
    assert pair_variables(a.uses(), b.uses())[0].evidence == (
        "shape (784, 128), 1st used, consumed by MatMul on both sides"
    )


def test_evidence_says_when_repeats_were_chosen_among() -> None:
    """Five layers against two: the evidence gives both counts."""
    a, b = mlp(784, 128, 128, 128, 128, 128, 10), mlp(784, 128, 128, 10)
    evidence = {pair.a: pair.evidence for pair in pair_variables(a.uses(), b.uses())}
    assert "(a has 4 of this size, b has 1)" in evidence[2]


def test_five_layers_against_two() -> None:
    """Repeated layers pair from the front, the output layer by its shape, biases with their matrices."""
    a, b = mlp(784, 128, 128, 128, 128, 128, 10), mlp(784, 128, 128, 10)
    assert found(a, b) == {0: 0, 1: 1, 2: 2, 3: 3, 10: 4, 11: 5}
    assert found(b, a) == {0: 0, 1: 1, 2: 2, 3: 3, 4: 10, 5: 11}


def test_five_layers_against_two_without_dataflow() -> None:
    """The same holds where the inputs of ops are not known."""
    a, b = mlp(784, 128, 128, 128, 128, 128, 10), mlp(784, 128, 128, 10)
    for program in (a, b):
        for position, site in enumerate(program.sites):
            if site.op not in ("MatMul", "BiasAdd"):
                program.inputs[position] = (-1,) * len(program.inputs[position])
    assert found(a, b) == {0: 0, 1: 1, 2: 2, 3: 3, 10: 4, 11: 5}


def test_extra_layer_in_front_of_the_output() -> None:
    """A fourth hidden layer stays unpaired and moves nothing else."""
    a, b = mlp(13, 64, 64, 32, 3), mlp(13, 64, 64, 32, 32, 3, biases_last=True)
    assert found(a, b) == {0: 0, 1: 5, 2: 1, 3: 6, 4: 2, 5: 7, 6: 4, 7: 9}


def test_width_that_differs_stays_unpaired() -> None:
    """A layer of another width is not paired with what happens to have as many axes."""
    a, b = mlp(10, 32, 5), mlp(10, 48, 5)
    assert found(a, b) == {3: 3}


def test_missing_bias_does_not_shift_the_others() -> None:
    """Without its bias, the middle layer leaves one bias of a unpaired, and it is the right one."""
    a = mlp(8, 8, 8, 8)
    b = Program()
    k1, b1, k2, k3, b3 = b.new((8, 8)), b.new((8,)), b.new((8, 8)), b.new((8, 8)), b.new((8,))
    x = b.dense(b.dense(b.dense(b.batch(), k1, b1), k2), k3, b3, relu=False)
    b.op("Mean", x, role="loss", phase="loss")
    assert found(a, b) == {0: k1, 1: b1, 2: k2, 4: k3, 5: b3}


def test_branches_run_in_another_order() -> None:
    """Two branches of different inner shapes pair although b runs them the other way round, biases included."""

    def towers(first: int, second: int) -> tuple[Program, dict[int, list[int]]]:
        program = Program()
        owned: dict[int, list[int]] = {}
        x, ends = program.batch(), []
        for width in (first, second):
            owned[width] = [program.new(s) for s in ((6, width), (width,), (width, 8), (8,), (8, 8), (8,))]
            h = x
            for kernel, bias in zip(owned[width][::2], owned[width][1::2], strict=True):
                h = program.dense(h, kernel, bias)
            ends.append(h)
        program.op("Mean", program.op("AddV2", *ends), role="loss", phase="loss")
        return program, owned

    (a, owned_a), (b, owned_b) = towers(10, 20), towers(20, 10)
    expected = {i: j for width in (10, 20) for i, j in zip(owned_a[width], owned_b[width], strict=True)}
    assert found(a, b) == expected


def test_square_matrix_used_transposed() -> None:
    """A square kernel used with transpose_b on one side pairs with swapped axes, though the shapes are equal."""
    a, b = Program(), Program()
    for program, flag in ((a, False), (b, True)):
        program.op("MatMul", program.batch(), program.read(program.new((16, 16))), transpose_b=flag)
    assert only(a, b).permutation == (1, 0)


def test_matrix_as_left_factor() -> None:
    """W @ x holds the transpose of what x @ W holds."""
    a, b = Program(), Program()
    a.op("MatMul", a.batch(), a.read(a.new((4, 4))))
    kernel = b.read(b.new((4, 4)))
    b.op("MatMul", kernel, b.batch())
    assert only(a, b).permutation == (1, 0)


def test_equal_shapes_with_opposite_layouts_do_not_fit() -> None:
    """(3, 5) used transposed is a layer from 5 to 3; it is none from 3 to 5."""
    a, b = Program(), Program()
    for program, flag in ((a, False), (b, True)):
        program.op("MatMul", program.batch(), program.read(program.new((3, 5))), transpose_b=flag)
    assert found(a, b) == {}


def test_transposed_shape_with_unknown_layout_fits() -> None:
    """(3, 5) against (5, 3) pairs with swapped axes where a Transpose of unknown axes stands in between."""
    a, b = Program(), Program()
    a.op("MatMul", a.batch(), a.read(a.new((3, 5))))
    b.op("MatMul", b.batch(), b.op("Transpose", b.read(b.new((5, 3))), b.constant()))
    assert only(a, b).permutation == (1, 0)


@pytest.mark.parametrize("flat_side", ["a", "b"])
def test_attention_heads_flattened(flat_side: str) -> None:
    """(D, heads, dk) by Einsum against (D, heads * dk) by MatMul: a reshape, there and back."""
    heads, flat = Program(), Program()
    heads.op("Einsum", heads.batch(), heads.read(heads.new((12, 3, 4))), equation="abc,cde->abde")
    flat.op("MatMul", flat.batch(), flat.read(flat.new((12, 12))))
    pair = only(heads, flat) if flat_side == "b" else only(flat, heads)
    target, source = ((12, 12), (12, 3, 4)) if flat_side == "b" else ((12, 3, 4), (12, 12))
    value = np.arange(144.0).reshape(source)
    assert pair.permutation is None
    assert np.array_equal(convert(value, pair), value.reshape(target))
    assert np.array_equal(convert_back(convert(value, pair), pair), value)


def test_attention_heads_flattened_and_transposed() -> None:
    """(D, heads, dk) against (heads * dk, D) used with transpose_b: transposed, then reshaped."""
    a, b = Program(), Program()
    a.op("Einsum", a.batch(), a.read(a.new((6, 3, 4))), equation="abc,cde->abde")
    b.op("MatMul", b.batch(), b.read(b.new((12, 6))), transpose_b=True)
    pair = only(a, b)
    value = np.arange(72.0).reshape(6, 3, 4)
    assert np.array_equal(convert(value, pair), value.reshape(6, 12).T)
    assert np.array_equal(convert_back(convert(value, pair), pair), value)


def attention(order: str, einsum: str = "") -> tuple[Program, dict[str, int]]:
    """One head of attention whose projections run (and are created) in the given order, and their indices."""
    program = Program()
    kernels = {part: program.new((6, 6)) for part in order}
    x = program.batch()
    parts = {part: program.dense(x, kernels[part], relu=False) for part in order}
    if einsum:
        terms = {"q": "acd", "k": "abd"}
        equation = f"{terms[einsum[0]]},{terms[einsum[1]]}->acb"
        scores = program.op("Einsum", parts[einsum[0]], parts[einsum[1]], equation=equation)
    else:
        scores = program.op("BatchMatMulV2", parts["q"], parts["k"], adj_y=True)
    mixed = program.op("BatchMatMulV2", program.op("Softmax", scores), parts["v"])
    kernels["o"] = program.new((6, 6))
    program.op("Mean", program.dense(mixed, kernels["o"], relu=False), role="loss", phase="loss")
    return program, kernels


@pytest.mark.parametrize("einsum", ["", "qk", "kq"])
@pytest.mark.parametrize("order", ["qkv", "qvk", "kqv", "kvq", "vqk", "vkq"])
def test_attention_projections_in_any_order(order: str, einsum: str) -> None:
    """Queries, keys and values pair by what becomes of them, in whichever order they are computed."""
    (a, kernels_a), (b, kernels_b) = attention("qkv"), attention(order, einsum)
    assert found(a, b) == {kernels_a[part]: kernels_b[part] for part in "qkvo"}


def test_another_activation_does_not_change_the_pairs() -> None:
    """Hidden layers whose activations are swapped in b still pair by their places: the activation is the fault."""
    programs = []
    for first, second in (("Relu", "Tanh"), ("Tanh", "Relu")):
        program = Program()
        x = program.batch()
        for activation in (first, second, "Relu", "Identity"):
            kernel, bias = program.new((8, 8)), program.new((8,))
            x = program.op(activation, program.dense(x, kernel, bias, relu=False))
        program.op("Mean", x, role="loss", phase="loss")
        programs.append(program)
    assert found(*programs) == {n: n for n in range(8)}


def test_pointwise_convolution_against_dense() -> None:
    """A (1, 1, C, O) kernel pairs with the (C, O) matrix."""
    a, b = Program(), Program()
    a.op("Conv2D", a.batch(), a.read(a.new((1, 1, 8, 4))))
    b.op("MatMul", b.batch(), b.read(b.new((8, 4))))
    assert only(a, b).reshape == (8, 4)


def test_embedding_pairs_by_lookup() -> None:
    """Two tables of one shape pair by the branch they serve, not by order of creation."""
    a, b = Program(), Program()
    tables_a = a.new((100, 4)), a.new((100, 4))
    tables_b = b.new((100, 4)), b.new((100, 4))
    for program, tables, swapped in ((a, tables_a, False), (b, tables_b, True)):
        ids = program.batch(), program.batch()
        rows, columns = reversed(tables) if swapped else tables
        u = program.op("ResourceGather", program.read(rows), ids[0])
        v = program.op("ResourceGather", program.read(columns), ids[1])
        program.op("Mean", program.op("Mul", u, v), role="loss", phase="loss")
    assert found(a, b) == {tables_a[0]: tables_b[1], tables_a[1]: tables_b[0]}


@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize("order", ["gbmv", "bgmv", "mvbg", "vmgb"])
def test_batch_norm_variables(order: str, initial: bool) -> None:  # noqa: FBT001
    """Gamma, beta, moving mean and variance of one size pair by part, with or without initial values to go by."""
    a, b = Program(), Program()
    kernels = {id(p): [p.new((9, 9)), p.new((9, 9))] for p in (a, b)}
    norms_a = [norm_variables(a, 9, initial=initial) for _ in range(2)]
    norms_b = [norm_variables(b, 9, initial=initial, order=order) for _ in range(2)]
    for program, norms, layer in ((a, norms_a, keras_norm), (b, norms_b, raw_norm)):
        x = program.batch()
        for kernel, norm in zip(kernels[id(program)], norms, strict=True):
            x = program.op("Relu", layer(program, program.dense(x, kernel, relu=False), norm))
        program.op("Mean", x, role="loss", phase="loss")
    expected = dict(zip(kernels[id(a)], kernels[id(b)], strict=True))
    for one, other in zip(norms_a, norms_b, strict=True):
        assert one.gamma is not None
        assert other.gamma is not None
        expected |= {one.gamma: other.gamma, one.beta: other.beta, one.mean: other.mean, one.variance: other.variance}
    assert found(a, b) == expected


def branches(order: Sequence[tuple[int, ...]], *, norm: bool) -> tuple[Program, dict[tuple[int, ...], list[int]]]:
    """Branches side by side, told by the widths of their layers, each with a bias (and a norm); and their variables."""
    program, made, ends = Program(), {}, []
    x = program.batch()
    for widths in order:
        first, out, before = len(program.variables), x, 8
        for width in widths:
            kernel, bias = program.new((before, width)), program.new((width,))
            out = program.dense(out, kernel, bias, relu=not norm)
            if norm:
                out = program.op("Relu", keras_norm(program, out, norm_variables(program, width)))
            before = width
        ends.append(out)
        made[widths] = list(range(first, len(program.variables)))
    wide = sum(widths[-1] for widths in order)
    program.dense(program.op("ConcatV2", *ends), program.new((wide, 3)), relu=False)
    return program, made


@pytest.mark.parametrize(
    ("order", "other"),
    [
        ([(4, 5), (4, 6), (4,)], [(4,), (4, 6), (4, 5)]),
        ([(8, 5), (8, 6), (8, 7)], [(8, 7), (8, 5), (8, 6)]),
    ],
)
@pytest.mark.parametrize("norm", [False, True])
def test_branches_in_another_order(order: list[tuple[int, ...]], other: list[tuple[int, ...]], norm: bool) -> None:  # noqa: FBT001
    """Layers of one shape side by side pair by the matrices behind them, in whatever order the branches are written."""
    (a, ours), (b, theirs) = branches(order, norm=norm), branches(other, norm=norm)
    pairs = found(a, b)
    for widths, variables in ours.items():
        assert [pairs[index] for index in variables] == theirs[widths]


@pytest.mark.parametrize("keys_first", [False, True])
def test_queries_and_keys_of_a_turned_product(keys_first: bool) -> None:  # noqa: FBT001
    """Queries are the rows of the scores that a softmax runs over, also where keys times queries are turned round."""
    uses = []
    for turned in (False, keys_first):
        program = Program()
        query, key = program.new((8, 8), name="query"), program.new((8, 8), name="key")
        x = program.batch()
        made = [program.op("MatMul", x, program.read(v)) for v in (query, key)]
        scores = program.op("BatchMatMulV2", *(made[::-1] if turned else made))
        axes = program.constant()
        if turned:
            scores = program.op("Transpose", scores, axes)
        program.op("Softmax", program.op("Mul", scores, program.constant()))
        found = uses_of(program.variables, program.sites, program.inputs, {}, {axes: np.array([0, 2, 1])}.get)
        uses.append([use.side for use in found])
    assert uses == [["row", "column"]] * 2


@pytest.mark.parametrize("initial", [True, False])
def test_batch_norm_in_inference_mode_on_one_side(initial: bool) -> None:  # noqa: FBT001
    """Statistics that one side updates and the other reads as they are still pair, layer by layer."""
    a, b = Program(), Program()
    norms = {}
    for program, training in ((a, True), (b, False)):
        layers = [(program.new((7, 7)), norm_variables(program, 7, initial=initial)) for _ in range(3)]
        norms[training] = layers
        x = program.batch()
        for kernel, norm in layers:
            x = keras_norm(program, program.dense(x, kernel, relu=False), norm, training=training)
        program.op("Mean", x, role="loss", phase="loss")
    assert found(a, b) == {variable.index: variable.index for variable in a.variables}


def test_statistics_that_one_side_never_touches() -> None:
    """Moving statistics that b creates and forgets pair by creation order and initial values."""
    a, b = Program(), Program()
    for program, updated in ((a, True), (b, False)):
        x = program.batch()
        for _ in range(2):
            kernel, norm = program.new((5, 5)), norm_variables(program, 5)
            x = program.dense(x, kernel, relu=False)
            if updated:
                x = raw_norm(program, x, norm)
            else:
                assert norm.gamma is not None
                x = program.op("Mul", x, program.read(norm.gamma))
                x = program.op("AddV2", x, program.read(norm.beta))
        program.op("Mean", x, role="loss", phase="loss")
    assert found(a, b) == {variable.index: variable.index for variable in a.variables}


def test_fused_norm_operands() -> None:
    """The argument positions of FusedBatchNormV3 tell the parts."""
    a, b = Program(), Program()
    norm_a = norm_variables(a, 6, initial=False)
    norm_b = norm_variables(b, 6, initial=False, order="vmbg")
    raw_norm(a, a.batch(), norm_a)
    assert norm_b.gamma is not None
    b.op(
        "FusedBatchNormV3",
        b.batch(),
        *(b.read(index) for index in (norm_b.gamma, norm_b.beta, norm_b.mean, norm_b.variance)),
    )
    expected = {norm_a.gamma: norm_b.gamma, norm_a.beta: norm_b.beta}
    expected |= {norm_a.mean: norm_b.mean, norm_a.variance: norm_b.variance}
    assert found(a, b) == expected


def test_missing_scale_leaves_gamma_alone() -> None:
    """Batch norm without scale in b: a's gamma has no partner, and takes nobody else's."""
    a, b = Program(), Program()
    norm_a, norm_b = norm_variables(a, 6, initial=False), norm_variables(b, 6, initial=False, order="bmv")
    keras_norm(a, a.batch(), norm_a)
    raw_norm(b, b.batch(), norm_b)
    assert found(a, b) == {norm_a.beta: norm_b.beta, norm_a.mean: norm_b.mean, norm_a.variance: norm_b.variance}


def test_wrong_initial_value_does_not_hide_the_part() -> None:
    """Gamma that b starts at zero is still gamma: its part in the dataflow outweighs the initial value."""
    a, b = Program(), Program()
    norm_a, norm_b = norm_variables(a, 6), norm_variables(b, 6)
    assert norm_a.gamma is not None
    assert norm_b.gamma is not None
    b.initial[norm_b.gamma] = (0.0, 0.0)
    keras_norm(a, a.batch(), norm_a)
    raw_norm(b, b.batch(), norm_b)
    assert found(a, b)[norm_a.gamma] == norm_b.gamma


def test_frozen_layer_pairs_and_says_so() -> None:
    """A kernel that b does not train pairs with its counterpart among layers of equal shape."""
    a, b = mlp(8, 8, 8, 8, bias=False), Program()
    kernels = [b.new((8, 8)), b.new((8, 8), kind="other"), b.new((8, 8))]
    x = b.batch()
    for kernel in kernels:
        x = b.dense(x, kernel)
    b.op("Mean", x, role="loss", phase="loss")
    pairs = {pair.a: pair for pair in pair_variables(a.uses(), b.uses())}
    assert {i: pair.b for i, pair in pairs.items()} == {0: 0, 1: 1, 2: 2}
    assert "trained in a only" in pairs[1].evidence


def test_bookkeeping_never_pairs() -> None:
    """Hyperparameters, seeds, metrics, slots and unused others are left alone, equal as they may look."""
    a, b = mlp(4, 4), mlp(4, 4)
    for program in (a, b):
        for kind in ("hyper", "seed", "metric", "slot", "other"):
            program.new((4, 4), kind=kind, name=kind)
    assert found(a, b) == {0: 0, 1: 1}


def test_regularization_before_the_network_does_not_count_as_first_use() -> None:
    """The first use is where a weight meets the data: a penalty written down first does not change the order."""
    a, b = mlp(6, 6, 6, bias=False), Program()
    late, early = b.new((6, 6)), b.new((6, 6))
    penalty = b.op("AddV2", b.op("L2Loss", b.read(late)), b.op("L2Loss", b.read(early)))
    x = b.dense(b.dense(b.batch(), early), late)
    b.op("AddV2", b.op("Mean", x), penalty, role="loss", phase="loss")
    uses = {use.index: use for use in b.uses()}
    assert (uses[early].consumer, uses[late].consumer) == ("MatMul", "MatMul")
    assert found(a, b) == {0: early, 1: late}


def test_reads_in_order_of_creation_do_not_count() -> None:
    """Reads may all run first, in any order: the op that consumes them decides."""
    a, b = mlp(6, 6, 6, bias=False), Program()
    second, first = b.new((6, 6)), b.new((6, 6))
    reads = {second: b.read(second), first: b.read(first)}
    x = b.op("Relu", b.op("MatMul", b.batch(), reads[first]))
    b.op("Mean", b.op("MatMul", x, reads[second]), role="loss", phase="loss")
    assert found(a, b) == {0: first, 1: second}


def test_names_break_ties_only() -> None:
    """Two kernels that nothing else tells apart pair by name; a name never outweighs the order of use."""
    tie_a, tie_b = Program(), Program()
    for program, names in ((tie_a, ("x/query", "x/key")), (tie_b, ("x/key", "x/query"))):
        for name in names:
            program.new((3,), kind="state", name=name)
    assert found(tie_a, tie_b) == {0: 1, 1: 0}
    a, b = mlp(5, 5, 5, bias=False), mlp(5, 5, 5, bias=False)
    for program, names in ((a, ("one", "two")), (b, ("two", "one"))):
        program.variables[:] = [
            type(v)(v.index, names[v.index], v.shape, v.dtype, v.trainable, v.kind) for v in program.variables
        ]
    assert found(a, b) == {0: 0, 1: 1}


def test_snapshots_after_the_step_are_no_uses() -> None:
    """Values recorded after the update do not make an unused variable used."""
    program = mlp(3, 3)
    state = program.new((3,), kind="state")
    program.op("", role="state", phase="state", variable=state)
    assert next(use for use in program.uses() if use.index == state).first_use is None


def test_random_chains_with_layers_left_out() -> None:
    """Deleting layers of distinct shapes from a random chain pairs exactly the rest (200 random networks)."""
    rng = random.Random(7)
    for _ in range(200):
        count = rng.randint(1, 9)
        shapes = [(rng.randint(2, 60), 100 + n) for n in range(count)]
        kept = sorted(rng.sample(range(count), rng.randint(0, count)))
        a, b = Program(), Program()
        for program, chosen in ((a, list(range(count))), (b, kept)):
            x = program.batch()
            for number in chosen:
                x = program.dense(x, program.new(shapes[number]), program.new(shapes[number][1:]))
        assert found(a, b) == {2 * i + d: 2 * j + d for j, i in enumerate(kept) for d in (0, 1)}


def test_random_renumbering_changes_nothing() -> None:
    """The order of creation is irrelevant for variables that the forward pass uses (100 random orders)."""
    rng = random.Random(11)
    a = mlp(9, 9, 9, 9, 9)
    for _ in range(100):
        b = Program()
        places = list(range(8))
        rng.shuffle(places)
        layer_of = {places[n]: n for n in range(8)}
        for place in range(8):
            b.new((9, 9) if layer_of[place] % 2 == 0 else (9,))
        x = b.batch()
        for layer in range(4):
            x = b.dense(x, places[2 * layer], places[2 * layer + 1], relu=layer < 3)
        b.op("Mean", x, role="loss", phase="loss")
        assert found(a, b) == {n: places[n] for n in range(8)}


def test_deep_network_is_paired_in_no_time() -> None:
    """Two hundred equal layers pair in order within seconds."""
    a, b = mlp(*[4] * 201), mlp(*[4] * 201, add="AddV2")
    start = time.perf_counter()
    assert found(a, b) == {n: n for n in range(400)}
    assert time.perf_counter() - start < 30


def test_nothing_to_pair() -> None:
    """A side without variables gives no pairs."""
    assert pair_variables([], mlp(3, 3).uses()) == []


def test_json_round_trip() -> None:
    """A pair survives the trace header."""
    pair = VariablePair(3, 4, (1, 0), "because", (6,), (2, 3))
    assert pair_from_json(pair.to_json()) == pair


def test_json_without_indices_is_refused() -> None:
    """A damaged entry gives one clear error."""
    with pytest.raises(TfdiffError, match="expected a variable pair"):
        pair_from_json({"a": 1})


def test_convert_random_round_trips() -> None:
    """convert_back undoes convert for random permutations and reshapes."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        shape = tuple(int(n) for n in rng.integers(1, 5, rng.integers(1, 5)))
        permutation = tuple(int(n) for n in rng.permutation(len(shape)))
        turned = tuple(shape[axis] for axis in permutation)
        pair = VariablePair(0, 0, permutation, "", (int(np.prod(shape)),), turned)
        value = rng.normal(size=shape)
        assert np.array_equal(convert_back(convert(value, pair), pair), value)


def test_uses_of_a_trace(tmp_path: Path) -> None:
    """A trace gives the same uses as the program it holds; initial values from before sharing go first."""
    program = mlp(4, 3, 2)
    own = [np.full(v.shape, 2.0 + v.index, np.float32) for v in program.variables]
    path = tmp_path / "t.h5"
    with TraceWriter(path) as writer:
        writer.header(Header("x.py", (), {}, {}))
        writer.variables(program.variables)
        starts = [Site(100 + v.index, "weight", "forward", "", variable=v.index) for v in program.variables]
        writer.initial(
            [Record(site, np.zeros_like(value)) for site, value in zip(starts, own, strict=True)],
            [Record(site, value) for site, value in zip(starts[:2], own[:2], strict=True)],
        )
        values = [np.zeros(3, np.float32)] * len(program.sites)
        records = [Record(s, v, i) for s, v, i in zip(program.sites, values, program.inputs, strict=True)]
        writer.step(StepInfo(0), records)
    with open_trace(path) as trace:
        uses = variable_uses(trace)
    assert [use.first_use for use in uses] == [use.first_use for use in program.uses()]
    assert [(use.initial_mean, use.initial_std) for use in uses] == [(2.0, 0.0), (3.0, 0.0), (0.0, 0.0), (0.0, 0.0)]


def test_uses_of_a_trace_that_turns_a_kernel(tmp_path: Path) -> None:
    """The axes of a transpose are read from the trace: an OIHW kernel pairs with an HWIO one for certain."""
    uses = []
    for turned in (False, True):
        program = Program()
        kernel = program.read(program.new((8, 3, 3, 3) if turned else (3, 3, 3, 8)))
        axes = program.constant()
        program.op("Conv2D", program.batch(), program.op("Transpose", kernel, axes) if turned else kernel)
        values = [np.zeros(2, np.float32)] * len(program.sites)
        values[axes] = np.array([3, 2, 1, 0], np.int32)
        path = tmp_path / f"{turned}.h5"
        with TraceWriter(path) as writer:
            writer.header(Header("x.py", (), {}, {}))
            writer.variables(program.variables)
            writer.step(
                StepInfo(0),
                [Record(s, v, i) for s, v, i in zip(program.sites, values, program.inputs, strict=True)],
            )
        with open_trace(path) as trace:
            uses.append(variable_uses(trace))
    (pair,) = pair_variables(*uses)
    assert pair.permutation == (3, 2, 1, 0)
    assert "one of several" not in pair.evidence


def test_uses_are_plain() -> None:
    """A use tells part, consumer and position."""
    kernel, bias = mlp(3, 2, add="AddV2").uses()
    assert isinstance(kernel, VariableUse)
    assert (kernel.operand, kernel.consumer, kernel.first_use) == ("matrix", "MatMul", 2)
    assert (bias.operand, bias.consumer, bias.first_use) == ("shift", "AddV2", 4)
    assert (kernel.upstream, bias.upstream, bias.after) == (frozenset(), {0}, {0})
