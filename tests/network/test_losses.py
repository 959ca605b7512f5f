import math

import numpy as np
import pytest
from support import assert_lives_on, eps

from portadnn.errors import InputError
from portadnn.network.losses import HEADS, get_head
from portadnn.network.model import L_model_backward, compute_cost, compute_cost_with_logits
from portadnn.network.spec import Network

LOGITS = np.asarray([[0.3, -2.0, 5.0], [1.2, 0.1, -0.7], [-0.4, 0.0, 2.5]])
LABELS = {
    "sigmoid": np.asarray([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 0.0]]),
    "softmax": np.asarray([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]),
    "identity": np.asarray([[0.5, -1.0, 2.0], [0.0, 3.0, 1.0], [1.5, 0.0, 0.25]]),
    "poisson": np.asarray([[2.0, 0.0, 7.0], [3.0, 1.0, 0.0], [0.0, 2.5, 40.0]]),
}


def definition(head, Z, Y):
    """Each cost by its definition, term by term."""
    m = Z.shape[1]
    total = 0.0
    for j in range(m):
        if head == "softmax":
            exps = [math.exp(z) for z in Z[:, j]]
            total -= sum(y * math.log(e / sum(exps)) for y, e in zip(Y[:, j], exps, strict=True))
        for z, y in zip(Z[:, j], Y[:, j], strict=True):
            if head == "sigmoid":
                a = 1 / (1 + math.exp(-z))
                total -= y * math.log(a) + (1 - y) * math.log(1 - a)
            elif head == "identity":
                total += (z - y) ** 2 / 2
            elif head == "poisson":
                total += math.exp(z) - y + (y * (math.log(y) - z) if y else 0.0)
    return total / m


def network(head, n_y=3):
    return Network((1, n_y), head=head)


def test_worked_number_of_the_course(backend):
    Y, AL = backend.asarray([[1, 1, 1]]), backend.asarray([[0.8, 0.9, 0.4]])
    cost = compute_cost(AL, Y)
    assert_lives_on(cost, backend)
    assert cost.shape == ()
    assert abs(float(cost) - 0.41493159961539694) < 10 * eps(backend)


@pytest.mark.parametrize("head", HEADS)
def test_costs_are_their_definition(head, backend):
    Z, Y = backend.asarray(LOGITS), backend.asarray(LABELS[head])
    expected = definition(head, LOGITS, LABELS[head])
    from_logits = compute_cost_with_logits(Z, Y, network=network(head))
    from_AL = compute_cost(get_head(head).activation(Z), Y, network=network(head))
    # probabilities of 0.0067 have lost 150 eps to 1 - p; the logits have lost nothing
    for cost, roundings in ((from_logits, 20), (from_AL, 200)):
        assert_lives_on(cost, backend)
        assert cost.shape == ()
        assert abs(float(cost) - expected) < roundings * eps(backend) * expected


def test_the_deviance_is_that_of_scikit_learn(backend):
    pytest.importorskip("sklearn", minversion="1.7")  # MLPRegressor with this loss
    losses = pytest.importorskip("sklearn._loss.loss").HalfPoissonLoss()
    mlp_loss = pytest.importorskip("sklearn.neural_network._base").poisson_loss
    Z, Y = LOGITS, LABELS["poisson"]
    found = float(
        compute_cost_with_logits(backend.asarray(Z), backend.asarray(Y), network=network("poisson"))
    )
    each = losses.loss(Y.ravel(), Z.ravel()) + losses.constant_to_optimal_zero(Y.ravel())
    # a few roundings of terms of up to 40 (1 + log 40) each, of which 9 are added
    tolerance = 20 * eps(backend) * 40 * (1 + math.log(40))
    assert abs(found - np.sum(each) / 3) < tolerance
    assert abs(found - mlp_loss(Y.T, np.exp(Z.T))) < tolerance
    gradient = get_head("poisson").gradient(np.exp(Z), Y)
    np.testing.assert_allclose(gradient.ravel(), losses.gradient(Y.ravel(), Z.ravel()), rtol=1e-14)


def test_the_deviance_is_that_of_torch_but_for_its_constant(torch):
    Y = LABELS["poisson"]
    Z = torch.tensor(LOGITS, requires_grad=True)
    theirs = torch.nn.PoissonNLLLoss(reduction="sum")(Z, torch.tensor(Y)) / 3
    theirs.backward()
    constant = np.sum(np.where(Y > 0, Y * np.log(np.where(Y > 0, Y, 1)) - Y, 0)) / 3
    ours = compute_cost_with_logits(LOGITS, Y, network=network("poisson"))
    assert abs(float(ours) - (theirs.item() + constant)) < 1e-13 * constant
    AL = get_head("poisson").activation(LOGITS)
    np.testing.assert_allclose(get_head("poisson").gradient(AL, Y) / 3, Z.grad, rtol=1e-13)


def test_a_mean_of_0_costs_nothing_without_a_count_and_all_with_one(backend):
    AL, none, some = (backend.asarray(x) for x in ([[0.0]], [[0.0]], [[2.0]]))
    assert float(compute_cost(AL, none, network=network("poisson", 1))) == 0
    assert float(compute_cost(AL, some, network=network("poisson", 1))) == math.inf
    Z = backend.asarray([[-1e4]])
    assert float(compute_cost_with_logits(Z, none, network=network("poisson", 1))) == 0


@pytest.mark.parametrize("head", sorted(HEADS.keys() - {"poisson"}))  # exp overflows there
def test_large_logits_cost_what_they_should_without_warning(head, backend):
    Z = np.asarray([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [0.0, 0.0, -1e4]])
    Y = LABELS["softmax"]
    z, y = backend.asarray(Z), backend.asarray(Y)
    cost = float(compute_cost_with_logits(z, y, network=network(head)))
    expected = {
        # softplus(z) - y z is z, or 0, or log 2
        "sigmoid": np.sum(np.maximum(Z, 0) - Y * Z + np.log1p(np.exp(-np.abs(Z)))) / 3,
        "softmax": np.sum(np.max(Z, axis=0) - np.sum(Y * Z, axis=0)) / 3,
        "identity": np.sum((Z - Y) ** 2) / 6,
    }[head]
    assert math.isfinite(cost)
    assert abs(cost - expected) <= 20 * eps(backend) * expected
    AL = get_head(head).activation(z)
    cache = ((backend.asarray(np.ones((1, 3))),) * 3, z)
    cache = (
        (backend.asarray(np.ones((1, 3))), backend.asarray(np.ones((3, 1))),
         backend.asarray(np.ones((3, 1)))), z)  # fmt: skip
    grads = L_model_backward(AL, y, [cache], network=network(head))
    for gradient in grads.values():
        assert np.isfinite(backend.to_numpy(gradient)).all()


@pytest.mark.parametrize("head", ["sigmoid", "softmax"])
def test_zero_log_zero_is_zero_and_a_contradiction_is_infinite(head, backend):
    certain = backend.asarray([[1.0, 0.0], [0.0, 1.0]])
    right, wrong = certain, backend.asarray([[1.0, 1.0], [0.0, 0.0]])
    assert float(compute_cost(certain, right, network=network(head, 2))) == 0
    assert float(compute_cost(certain, wrong, network=network(head, 2))) == math.inf


def test_labels_of_another_shape():
    with pytest.raises(InputError, match=r"Y has shape \(3,\), but the output has \(1, 3\)"):
        compute_cost(np.zeros((1, 3)), np.zeros(3))


def test_an_unknown_head():
    with pytest.raises(InputError, match="unknown head 'softmx': did you mean 'softmax'"):
        get_head("softmx")


@pytest.mark.parametrize(
    ("head", "rows"),
    [
        *((head, 1) for head in HEADS),
        *((head, 3) for head, row in HEADS.items() if not row.exclusive),
    ],
)
def test_weights_multiply_the_cost_of_every_example_or_output(rows, head, backend):
    S = np.asarray([[2.0, 0.0, 1.0], [0.5, 3.0, 0.25], [1.0, 1.0, 4.0]])[:rows]
    Z, Y = LOGITS, LABELS[head]
    if rows == 1:
        each = [definition(head, Z[:, [j]], Y[:, [j]]) for j in range(3)]
        expected = sum(s * cost for s, cost in zip(S[0], each, strict=True)) / 3
    else:
        expected = sum(
            S[i, j] * definition(head, Z[i : i + 1, [j]], Y[i : i + 1, [j]])
            for i in range(3)
            for j in range(3)
        ) / 3  # fmt: skip
    found = compute_cost_with_logits(
        backend.asarray(Z), backend.asarray(Y), network=network(head), weights=backend.asarray(S)
    )
    assert_lives_on(found, backend)
    assert found.shape == ()
    # as without weights
    assert abs(float(found) - expected) < 20 * eps(backend) * expected


@pytest.mark.parametrize("head", HEADS)
def test_weights_of_1_change_nothing(head, backend):
    Z, Y = backend.asarray(LOGITS), backend.asarray(LABELS[head])
    ones = backend.asarray(np.ones((1, 3)))
    weighted = compute_cost_with_logits(Z, Y, network=network(head), weights=ones)
    assert float(weighted) == float(compute_cost_with_logits(Z, Y, network=network(head)))
