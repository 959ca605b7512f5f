"""JAX: value_and_grad of a cost, a jitted scan over the steps, buffers donated.

In two layouts: X @ W with an example in each row, and W @ X with one in each column.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from contest.entrants import Entrant, Unavailable

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


def connect(argument):
    """``argument`` is the layout, and after a comma "gpu" if it is not JAX's default device."""
    layout, _, argument = argument.partition(",")
    try:
        import jax
    except ImportError as error:
        raise Unavailable("JAX is not installed") from error
    if argument and jax.default_backend() != argument:
        raise Unavailable("JAX has no GPU here")
    return functools.partial(JaxScan, columns=layout == "columns")


def make_run(task, columns):
    """``run(state, X, Y, order, n)``: the state after n steps, or after those of ``order``."""
    import jax
    import jax.numpy as jnp

    def product(W, A):
        return W @ A if columns else A @ W

    def cost(parameters, X, Y):
        A = X
        for W, b in parameters[:-1]:
            A = jax.nn.relu(product(W, A) + b)
        W, b = parameters[-1]
        Z = product(W, A) + b
        if task.binary:
            return jnp.mean(jax.nn.softplus(Z) - Y * Z)
        units = 0 if columns else 1
        return -jnp.mean(jnp.sum(Y * jax.nn.log_softmax(Z, axis=units), axis=units))

    def sgd(parameters, grads, slots):
        return jax.tree.map(lambda p, g: p - task.rate * g, parameters, grads), slots

    def adam(parameters, grads, slots):
        v, s, t = slots
        t = t + 1
        v = jax.tree.map(lambda v, g: BETA1 * v + (1 - BETA1) * g, v, grads)
        s = jax.tree.map(lambda s, g: BETA2 * s + (1 - BETA2) * g * g, s, grads)
        # 1 / (1 - beta^t), without what a float32 loses in the difference
        c1, c2 = (-1 / jnp.expm1(t * math.log(beta)) for beta in (BETA1, BETA2))
        parameters = jax.tree.map(
            lambda p, v, s: p - task.rate * (v * c1) / (jnp.sqrt(s * c2) + EPSILON),
            parameters, v, s,
        )  # fmt: skip
        return parameters, (v, s, t)

    update = {"sgd": sgd, "adam": adam}[task.optimizer]

    @functools.partial(jax.jit, static_argnames="n", donate_argnums=0)
    def run(state, X, Y, order, n):
        def step(state, batch):
            parameters, slots = state
            x, y = (X, Y) if batch is None else (X[batch], Y[batch])
            if columns and batch is not None:  # a row is taken in one piece
                x, y = x.T, y.T
            value, grads = jax.value_and_grad(cost)(parameters, x, y)
            return update(parameters, grads, slots), value

        return jax.lax.scan(step, state, order, length=n)

    return run


class JaxScan(Entrant):
    def __init__(self, task, columns):
        import jax

        super().__init__(task)
        jax.config.update("jax_enable_x64", task.dtype == "float64")
        jax.config.update("jax_default_matmul_precision", "highest")  # no TF32 on a GPU
        self.columns = columns
        self.run = make_run(task, columns)

    def begin(self):
        import jax
        import jax.numpy as jnp

        task = self.task
        whole = self.columns and task.batch is None
        self.X, self.Y = (
            jnp.asarray(np.ascontiguousarray(x.T) if whole else x)
            for x in (task.rows, task.targets())
        )
        parameters = []
        for l in range(1, task.L + 1):
            W, b = task.weights[f"W{l}"], task.weights[f"b{l}"]
            W, b = (W, b) if self.columns else (W.T, b[:, 0])
            parameters.append((jnp.asarray(W), jnp.asarray(b)))
        slots = ()
        if task.optimizer == "adam":
            slots = (
                *(jax.tree.map(jnp.zeros_like, parameters) for _ in "vs"),
                jnp.zeros((), task.dtype),
            )
        self.state = (parameters, slots)
        self.done = 0

    def advance(self, n):
        import jax

        order = None if self.task.batch is None else self.task.order(self.done, n)
        self.state, costs = self.run(self.state, self.X, self.Y, order, n)
        jax.block_until_ready((self.state, costs))
        self.done += n

    def weights(self):
        found = {}
        for l, (W, b) in enumerate(self.state[0], start=1):
            W, b = np.asarray(W), np.asarray(b)
            found[f"W{l}"], found[f"b{l}"] = (W, b) if self.columns else (W.T, b[:, None])
        return found

    @staticmethod
    def product(A, B):
        import jax
        import jax.numpy as jnp

        A, B, multiply = jnp.asarray(A), jnp.asarray(B), jax.jit(jnp.matmul)
        return lambda: multiply(A, B).block_until_ready()
