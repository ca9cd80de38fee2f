"""Cross-entropies, reductions and penalties."""

import numpy as np
import pytest

from .programs import Program, features, one_hot


def softmax(x):
    """Over the last axis."""
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(x):
    """Of one number."""
    return 1 / (1 + np.exp(-x))


def classifier(script: str, loss, labels: np.ndarray, *, keras: bool = False) -> Program:
    """Dense, tanh, dense and a loss."""
    p = Program(script, keras)
    h = p.dense(p.input(features()), "hidden", 12)
    h = p.op("Tanh", np.tanh(p.value(h)), h)
    width = labels.shape[1] if labels.ndim > 1 else 5
    z = p.dense(h, "out", width, line=9)
    p.loss(loss(p, z, p.input(labels)))
    return p


def crossentropy(times: int, reduce=np.mean, *, whole: bool = False):
    """Softmax applied `times` times in front of the logarithm, the last one inside the op."""

    def apply(p: Program, z: int, y: int) -> int:
        labels = p.value(y) if p.value(y).ndim > 1 else np.eye(5)[p.value(y)]
        for _ in range(times - 1):
            z = p.op("Softmax", softmax(p.value(z).astype(np.float64)), z, line=11)
        logits = p.value(z).astype(np.float64)
        if times == 0 and whole:
            z = p.op("Maximum", np.clip(logits, 1e-7, 1 - 1e-7), z, line=11)
            z = p.op("Log", np.log(p.value(z).astype(np.float64)), z, line=11)
            each = -(labels * np.log(softmax(p.value(z).astype(np.float64)))).sum(-1)
        elif times == 0:
            q = np.clip(logits / logits.sum(-1, keepdims=True), 1e-7, 1 - 1e-7)
            each = -(labels * np.log(q)).sum(-1)
        else:
            each = -(labels * np.log(softmax(logits))).sum(-1)
        losses = p.op(
            "SoftmaxCrossEntropyWithLogits", each, z, y, line=12, api="tf.nn.softmax_cross_entropy_with_logits"
        )
        return p.op("Mean" if reduce is np.mean else "Sum", np.asarray(reduce(each)), losses, line=12)

    return apply


def binary(times: int):
    """The same with a sigmoid."""

    def apply(p: Program, z: int, y: int) -> int:
        labels = p.value(y).astype(np.float64)
        x = p.value(z).astype(np.float64)
        for _ in range(times - 1):
            z = p.op("Sigmoid", sigmoid(x), z, line=11)
            x = p.value(z).astype(np.float64)
        each = np.logaddexp(0, x) - labels * x
        losses = p.op("Log1p", each, z, y, line=12)
        return p.op("Mean", np.asarray(each.mean()), losses, line=12)

    return apply


@pytest.mark.parametrize("sparse", [False, True])
def test_softmax_twice(first, sparse):
    """Probabilities where logits are wanted, with one-hot and with integer labels."""
    labels = one_hot().argmax(1).astype(np.int32) if sparse else one_hot()
    cause = first(classifier("a.py", crossentropy(1), labels), classifier("b.py", crossentropy(2), labels))
    assert (cause.code, cause.constants) == ("loss-from-logits", {"a": 1, "b": 2})
    assert "twice" in cause.summary
    assert cause.error_after < 1e-5


def test_no_softmax_at_all(first):
    """Logits where probabilities are wanted."""
    cause = first(classifier("a.py", crossentropy(1), one_hot()), classifier("b.py", crossentropy(0), one_hot()))
    assert (cause.code, cause.constants) == ("loss-from-logits", {"a": 1, "b": 0})


def test_no_softmax_at_all_in_a_sparse_cross_entropy(first):
    """Keras' sparse cross-entropy clips the logits as they are: only their logarithms are made to add up to one."""
    labels = one_hot().argmax(1).astype(np.int32)
    a, b = classifier("a.py", crossentropy(1), labels), classifier("b.py", crossentropy(0, whole=True), labels)
    cause = first(a, b)
    assert (cause.code, cause.constants) == ("loss-from-logits", {"a": 1, "b": 0})


def test_sigmoid_twice(first):
    """A sigmoid in front of the cross-entropy with logits."""
    labels = (features(24, 3, 9) > 0).astype(np.float32)
    cause = first(classifier("a.py", binary(1), labels), classifier("b.py", binary(2), labels))
    assert (cause.code, cause.constants) == ("loss-from-logits", {"a": 1, "b": 2})


def smoothed(share: float):
    """Labels moved towards the uniform distribution."""

    def apply(p: Program, z: int, y: int) -> int:
        labels = p.value(y) * (1 - share) + share / 5
        each = -(labels * np.log(softmax(p.value(z).astype(np.float64)))).sum(-1)
        moved = p.op("AddV2", labels, y, p.constant(share / 5), line=11)
        losses = p.op("SoftmaxCrossEntropyWithLogits", each, z, moved, line=12)
        return p.op("Mean", np.asarray(each.mean()), losses, line=12)

    return apply


@pytest.mark.parametrize(("a", "b"), [(0.1, 0.0), (0.0, 0.2), (0.1, 0.2)])
def test_label_smoothing(first, a, b):
    """Both shares are fitted."""
    cause = first(classifier("a.py", smoothed(a), one_hot()), classifier("b.py", smoothed(b), one_hot()))
    assert (cause.code, cause.constants) == ("loss-smoothing", {"a": pytest.approx(a), "b": pytest.approx(b)})


def test_smoothed_labels_are_no_weighted_ones(diff):
    """Smoothing multiplies the labels, not the terms of the loss: it has one cause."""

    def step_by_step(share: float):
        def apply(p: Program, z: int, y: int) -> int:
            scaled = p.op("Mul", p.value(y) * (1 - share), y, p.constant(1 - share), line=11)
            labels = p.op("AddV2", p.value(scaled) + share / 5, scaled, p.constant(share / 5), line=11)
            each = -(p.value(labels) * np.log(softmax(p.value(z).astype(np.float64)))).sum(-1)
            losses = p.op("SoftmaxCrossEntropyWithLogits", each, z, labels, line=12)
            return p.op("Mean", np.asarray(each.mean()), losses, line=12)

        return apply

    result = diff(classifier("a.py", step_by_step(0.1), one_hot()), classifier("b.py", step_by_step(0.05), one_hot()))
    assert [cause.code for cause in result.causes] == ["loss-smoothing"]


def test_class_weights_are_no_smoothing(first):
    """Losses weighted by class have a code of their own."""

    def weighted(p: Program, z: int, y: int) -> int:
        each = -(p.value(y) * np.log(softmax(p.value(z).astype(np.float64))) * np.arange(1, 6)).sum(-1)
        losses = p.op("SoftmaxCrossEntropyWithLogits", each, z, y, line=12)
        return p.op("Mean", np.asarray(each.mean()), losses, line=12)

    a, b = classifier("a.py", crossentropy(1), one_hot()), classifier("b.py", weighted, one_hot())
    assert first(a, b).code == "loss-weights"


def test_squared_error_of_probabilities_is_another_kind(first):
    """Another kind of loss is not named as a cross-entropy."""

    def brier(p: Program, z: int, y: int) -> int:
        q = p.op("Softmax", softmax(p.value(z).astype(np.float64)), z, line=11)
        square = p.op("SquaredDifference", (p.value(q) - p.value(y)) ** 2, q, y, line=12)
        return p.op("Mean", np.asarray(((p.value(q) - p.value(y)) ** 2).mean()), square, line=12)

    cause = first(classifier("a.py", crossentropy(1), one_hot()), classifier("b.py", brier, one_hot()))
    assert (cause.code, cause.constants) == (
        "loss-kind",
        {"a": "categorical cross-entropy", "b": "mean squared error"},
    )
    assert cause.b.source in ("b.py:11", "b.py:12")


def squares(share, *, line: int = 12):
    """`share(square)` of the squared errors."""

    def apply(p: Program, z: int, y: int) -> int:
        square = p.op("SquaredDifference", (p.value(z) - p.value(y)).astype(np.float64) ** 2, z, y, line=line)
        return p.op("Sum", np.asarray(share(p.value(square).astype(np.float64))), square, line=line)

    return apply


def test_sum_against_mean(first):
    """A factor of rows times columns."""
    cause = first(classifier("a.py", squares(np.mean), one_hot()), classifier("b.py", squares(np.sum), one_hot()))
    assert cause.code == "loss-reduction"
    assert cause.constants["ratio"] == pytest.approx(24 * 5)
    assert cause.fix == "tf.reduce_mean(...) for the loss at b.py:12"


def test_mean_over_the_batch_only(first):
    """Outputs summed, rows averaged."""
    cause = first(
        classifier("a.py", squares(np.mean), one_hot()), classifier("b.py", squares(lambda s: s.sum() / 24), one_hot())
    )
    assert (cause.code, cause.constants["ratio"]) == ("loss-reduction", pytest.approx(5))


def test_half_the_sum_of_squares(first):
    """tf.nn.l2_loss of the differences against their mean square."""

    def apply(*, half: bool):
        def loss(p: Program, z: int, y: int) -> int:
            values = p.value(z).astype(np.float64) - p.value(y)
            d = p.op("Sub", values, z, y, line=11)
            if half:
                return p.op("L2Loss", np.asarray(0.5 * (values**2).sum()), d, line=12)
            square = p.op("Square", values**2, d, line=12)
            return p.op("Mean", np.asarray((values**2).mean()), square, line=12)

        return loss

    cause = first(classifier("a.py", apply(half=False), one_hot()), classifier("b.py", apply(half=True), one_hot()))
    assert (cause.code, cause.constants["ratio"]) == ("loss-reduction", pytest.approx(60))


def test_a_sum_of_a_sum(first):
    """Keras adds up the terms, then what it added up, then divides."""

    def keras(p: Program, z: int, y: int) -> int:
        values = ((p.value(z).astype(np.float64) - p.value(y)) ** 2).mean(1)
        each = p.op("Mean", values, z, y, line=11)
        total = p.op("Sum", np.asarray(values.sum()), each, line=12)
        again = p.op("Sum", np.asarray(values.sum()), total, p.constant(0), line=12)
        return p.op("DivNoNan", np.asarray(values.mean()), again, p.constant(24), line=12)

    def plain(p: Program, z: int, y: int) -> int:
        values = ((p.value(z).astype(np.float64) - p.value(y)) ** 2).mean(1)
        return p.op("Sum", np.asarray(values.sum()), p.op("Mean", values, z, y, line=11), line=12)

    cause = first(classifier("a.py", keras, one_hot()), classifier("b.py", plain, one_hot()))
    assert (cause.code, cause.constants["ratio"]) == ("loss-reduction", pytest.approx(24))


def test_a_term_summed_here_and_averaged_there(first):
    """Where a loss has several terms, the one that is reduced otherwise is named."""

    def two_terms(reduce: str):
        def apply(p: Program, z: int, y: int) -> int:
            loss = squares(np.mean)(p, z, y)
            each = p.op("Exp", np.exp(p.value(z).astype(np.float64)), z, line=13)
            rows = getattr(p.value(each), reduce)(axis=1)
            term = p.op(reduce.title(), rows, each, p.constant(1), line=14)
            square = p.op("Square", p.value(term).astype(np.float64) ** 2, term, line=15)
            whole = p.op("Mean", np.asarray(p.value(square).mean()), square, line=15)
            return p.op("AddV2", p.value(loss).astype(np.float64) + p.value(whole), loss, whole, line=16)

        return apply

    cause = first(classifier("a.py", two_terms("sum"), one_hot()), classifier("b.py", two_terms("mean"), one_hot()))
    assert (cause.code, cause.constants, cause.b.source) == ("loss-reduction", {"ratio": 0.2}, "b.py:14")


def test_a_factor_that_is_no_count_is_unexplained(first):
    """Times 1.3 is no reduction."""
    cause = first(
        classifier("a.py", squares(np.mean), one_hot()),
        classifier("b.py", squares(lambda s: 1.3 * s.mean()), one_hot()),
    )
    assert (cause.code, cause.b.source) == ("unexplained", "b.py:12")


def test_broadcast_to_a_table(first):
    """(n,) against (n, 1)."""
    y = features(24, 1)[:, 0]

    def loss(*, table: bool):
        def apply(p: Program, z: int, at: int) -> int:
            prediction = p.value(z).astype(np.float64)
            if not table:
                z = p.op("Squeeze", prediction[:, 0], z, line=11)
                prediction = prediction[:, 0]
            d = p.op("Sub", prediction - p.value(at), z, at, line=12)
            square = p.op("Square", p.value(d).astype(np.float64) ** 2, d, line=12)
            return p.op("Mean", np.asarray((p.value(d).astype(np.float64) ** 2).mean()), square, line=12)

        return apply

    def program(script: str, *, table: bool) -> Program:
        p = Program(script)
        p.loss(loss(table=table)(p, p.dense(p.input(features()), "out", 1, line=9), p.input(y)))
        return p

    cause = first(program("a.py", table=False), program("b.py", table=True))
    assert (cause.code, cause.constants) == ("loss-reduction", {"a": 24, "b": 576})


def penalized(strengths: dict[str, float], *, l1: bool = False):
    """Mean squared error plus lambda * sum(w^2) for the named weights."""

    def apply(p: Program, z: int, y: int) -> int:
        loss = squares(np.mean)(p, z, y)
        for name, strength in strengths.items():
            w = next(i for i, r in enumerate(p.records) if r.site.role == "weight" and r.site.variable == p.index[name])
            values = p.value(w).astype(np.float64)
            each = np.abs(values) if l1 else values**2
            square = p.op("Abs" if l1 else "Square", each, w, line=14)
            total = p.op("Sum", np.asarray(each.sum()), square, line=14)
            term = p.op("Mul", np.asarray(strength * each.sum()), total, p.constant(strength), line=14)
            loss = p.op("AddV2", p.value(loss).astype(np.float64) + p.value(term), loss, term, line=15)
        return loss

    return apply


@pytest.mark.parametrize("l1", [False, True])
def test_penalty_left_out(first, l1):
    """Lambda is fitted, and the losses agree without the penalties."""
    a = classifier("a.py", penalized({"hidden/w": 1e-3, "out/w": 1e-3}, l1=l1), one_hot())
    cause = first(a, classifier("b.py", squares(np.mean), one_hot()))
    assert cause.code == "loss-regularization-missing"
    assert cause.constants == {"a": pytest.approx(1e-3, rel=1e-3), "b": 0.0}
    assert cause.error_after < 1e-5
    assert ("L1" if l1 else "L2") in cause.summary


def test_penalty_left_out_next_to_another_fault_of_the_loss(diff):
    """A loss that differs by more than the penalty has both causes; one that differs by just the penalty has one."""
    penalty = penalized({"hidden/w": 1e-3, "out/w": 1e-3})
    result = diff(classifier("a.py", penalty, one_hot()), classifier("b.py", squares(np.sum), one_hot()))
    assert [cause.code for cause in result.causes] == ["loss-reduction", "loss-regularization-missing"]
    result = diff(classifier("a.py", penalty, one_hot()), classifier("b.py", squares(np.mean), one_hot()))
    assert [cause.code for cause in result.causes] == ["loss-regularization-missing"]


@pytest.mark.parametrize("share", [0.5, 1.1, 3.0])
def test_penalty_of_another_strength(first, share):
    """Both have a penalty: both strengths are fitted, one kind of weight by another."""
    a = classifier("a.py", penalized({"hidden/w": 1e-3, "out/w": 2e-3}), one_hot())
    cause = first(a, classifier("b.py", penalized({"hidden/w": 1e-3, "out/w": 2e-3 * share}), one_hot()))
    assert cause.code == "loss-regularization-missing"
    assert cause.constants == {"a": pytest.approx(2e-3, rel=1e-3), "b": pytest.approx(2e-3 * share, rel=1e-3)}
    assert "out/w" in cause.summary
    assert "hidden/w" not in cause.summary


def test_penalty_missing_for_one_of_two_weights(first):
    """The other weight's penalty is where it was."""
    a = classifier("a.py", penalized({"hidden/w": 1e-3, "out/w": 1e-3}), one_hot())
    cause = first(a, classifier("b.py", penalized({"hidden/w": 1e-3}), one_hot()))
    assert (cause.code, cause.constants) == ("loss-regularization-missing", {"a": pytest.approx(1e-3), "b": 0.0})
    assert "out/w" in cause.summary


def test_penalty_on_a_weight_of_zeros(first):
    """A bias that begins with zeros is penalized, too: it adds nothing yet."""

    def penalize(strength: float):
        def apply(p: Program, z: int, y: int) -> int:
            name = p.variable("shift", np.zeros(5))
            moved = p.op("AddV2", p.value(z) + p.weights[name], z, p.read(name), line=10)
            return penalized({"hidden/w": strength, "shift": strength}, l1=True)(p, moved, y)

        return apply

    a = classifier("a.py", penalize(1e-3), one_hot())
    cause = first(a, classifier("b.py", penalize(2e-3), one_hot()))
    assert (cause.code, cause.constants) == (
        "loss-regularization-missing",
        {"a": pytest.approx(1e-3), "b": pytest.approx(2e-3)},
    )
    assert "shift" not in cause.summary


def in_one_sum(strength: float, *names: str, power: int = 2):
    """Mean squared error plus lambda * sum(all weights, joined in one vector, to a power)."""

    def apply(p: Program, z: int, y: int) -> int:
        loss = squares(np.mean)(p, z, y)
        reads = [i for i, r in enumerate(p.records) if r.site.role == "weight" and r.site.variable is not None]
        reads = [i for i in reads if p.records[i].site.variable in {p.index[name] for name in names}]
        whole = np.concatenate([p.value(i).astype(np.float64).ravel() for i in reads])
        joined = p.op("ConcatV2", whole, *reads, p.constant(0), line=14)
        raised = p.op("Square" if power == 2 else "Pow", whole**power, joined, line=14)
        total = p.op("Sum", np.asarray((whole**power).sum()), raised, line=14)
        term = p.op("Mul", np.asarray(strength * (whole**power).sum()), total, p.constant(strength), line=14)
        return p.op("AddV2", p.value(loss).astype(np.float64) + p.value(term), loss, term, line=15)

    return apply


def test_penalties_in_one_sum_and_one_by_one(first):
    """All weights in one vector, or each by itself: only the strength counts."""
    names = ("hidden/w", "out/w")
    a = classifier("a.py", in_one_sum(1e-3, *names), one_hot())
    cause = first(a, classifier("b.py", penalized(dict.fromkeys(names, 2e-3)), one_hot()))
    assert (cause.code, cause.constants) == (
        "loss-regularization-missing",
        {"a": pytest.approx(1e-3), "b": pytest.approx(2e-3)},
    )


def test_another_power_is_no_penalty_of_a_kind(first):
    """The sum of fourth powers is neither L1 nor L2."""
    a = classifier("a.py", in_one_sum(1e-2, "hidden/w", "out/w", power=4), one_hot())
    assert first(a, classifier("b.py", squares(np.mean), one_hot())).code == "unexplained"


def test_a_constant_added_is_no_penalty(first):
    """Something that is added and does not come from weights."""

    def shifted(p: Program, z: int, y: int) -> int:
        loss = squares(np.mean)(p, z, y)
        return p.op("AddV2", p.value(loss).astype(np.float64) + 0.37, loss, p.constant(0.37), line=15)

    assert (
        first(classifier("a.py", squares(np.mean), one_hot()), classifier("b.py", shifted, one_hot())).code
        == "unexplained"
    )
