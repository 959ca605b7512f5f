"""Penalties and clipping against PyTorch, and at their edges."""

import numpy as np
import pytest
from support import assert_equal, assert_lives_on, eps

from portadnn.network.penalties import clipped, global_norm, penalized_gradient, penalty

SHAPES = {"W1": (3, 4), "b1": (3, 1), "W2": (1, 3), "b2": (1, 1)}


def draw():
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape) for name, shape in SHAPES.items()}


@pytest.mark.parametrize(("l2", "l1"), [(0.3, 0.0), (0.0, 0.2), (0.3, 0.2), (0.0, 0.0)])
def test_penalty_and_its_gradient_are_pytorchs(l2, l1, backend, torch):
    host = draw()
    host["W1"][0, 0] = 0.0  # where the absolute value has a kink, PyTorch's gradient is 0 too
    tensors = {name: torch.tensor(p, requires_grad=True) for name, p in host.items()}
    with torch.enable_grad():
        W = torch.cat([tensors["W1"].ravel(), tensors["W2"].ravel()])
        expected = l2 / 2 * (W**2).sum() + l1 * W.abs().sum()
        expected.backward()
    parameters = {name: backend.asarray(p) for name, p in host.items()}
    found = penalty(parameters, l2=l2, l1=l1)
    # 15 squares and absolute values
    assert_equal(found, expected.item(), backend, atol=20 * eps(backend))
    for name in ("W1", "W2"):
        zeros = backend.asarray(np.zeros(SHAPES[name]))
        gradient = penalized_gradient(parameters[name], zeros, l2=l2, l1=l1)
        assert_equal(gradient, tensors[name].grad.numpy(), backend, atol=4 * eps(backend))


def test_the_gradient_of_l1_is_the_sign_of_the_weights(backend):
    W = backend.asarray([[2.0, -3.0, 0.0, -0.0, np.inf, -np.inf, np.nan]])
    found = penalized_gradient(W, backend.asarray(np.zeros((1, 7))), l1=0.25)
    # a weight that is not a number makes a gradient that is none: training must see it
    assert_lives_on(found, backend)
    host = backend.to_numpy(found)
    np.testing.assert_array_equal(host, [[0.25, -0.25, 0.0, 0.0, 0.25, -0.25, np.nan]])
    assert not np.signbit(host[0, 2:4]).any()


@pytest.mark.parametrize("clip_norm", [0.5, 3.0, 100.0])
def test_clipping_is_pytorchs(clip_norm, backend, torch):
    host = draw()
    tensors = [torch.zeros(g.shape, dtype=torch.float64, requires_grad=True) for g in host.values()]
    for tensor, g in zip(tensors, host.values(), strict=True):
        tensor.grad = torch.tensor(g)
    expected = torch.nn.utils.clip_grad_norm_(tensors, clip_norm)
    gradients = [backend.asarray(g) for g in host.values()]
    norm = global_norm(gradients)
    assert norm.shape == (1, 1)
    assert_equal(norm, [[expected.item()]], backend, rtol=20 * eps(backend))
    for g, tensor in zip(gradients, tensors, strict=True):
        # PyTorch divides by the norm + 1e-6, of a norm of 4.6
        found = clipped(g, norm, clip_norm)
        assert_equal(found, tensor.grad.numpy(), backend, rtol=3e-7 + 20 * eps(backend))


def test_what_is_below_the_limit_is_left_as_it_is_to_the_bit(backend):
    gradients = [backend.asarray(g) for g in draw().values()]
    norm = global_norm(gradients)
    for g in gradients:
        assert_equal(clipped(g, norm, 100.0), backend.to_numpy(g), backend)


def test_the_norm_after_clipping_is_the_limit(backend):
    gradients = [backend.asarray(g) for g in draw().values()]
    norm = global_norm(gradients)
    after = global_norm([clipped(g, norm, 0.25) for g in gradients])
    assert_equal(after, [[0.25]], backend, rtol=20 * eps(backend))


def test_gradients_of_0_are_not_divided_by_their_norm(backend):
    zeros = backend.asarray(np.zeros((2, 3)))
    norm = global_norm([zeros])
    assert_equal(clipped(zeros, norm, 1.0), np.zeros((2, 3)), backend)
    assert_lives_on(norm, backend)


def test_nothing_is_widened_by_numpy_scalars(backend):
    parameters = {name: backend.asarray(p) for name, p in draw().items()}
    assert_lives_on(penalty(parameters, l2=0.1, l1=0.1), backend)
    assert_lives_on(penalty(parameters), backend)
