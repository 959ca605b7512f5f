"""Parity with NumPy, and whether it names TF32 that is not declared."""

from dataclasses import replace

from gpu.work import Skip, is_stand_in, row, table

DTYPES = ("float32", "float64")


def parity(work):
    """Gradient descent, and everything switched on, on the cats and the digits."""
    from portadnn.parity.compare import Outcome, compare
    from portadnn.report import write_report

    backend = work.connect()
    heads = ("data", "dtype", "training", "outcome", "operations", "largest ratio", "at", "kinks",
             "first divergence")  # fmt: skip
    work.say(f"{backend.name} and numpy:", "", *table(heads, []))
    faults = []
    for data, run in runs(work.small).items():
        for dtype in DTYPES:
            pair = [work.connect(dtype, "numpy"), work.connect(dtype)]
            for what, declared in (("", run), ("everything", everything(run))):
                found = compare(declared, pair)
                name = "-".join(filter(None, ("parity", data.split(",")[0], dtype, what)))
                figures = summary(found)
                work.figures[name] = figures | {"data": data}
                if not what or found.outcome is not Outcome.PARITY:
                    write_report(found, work.keep / f"{name.replace(' ', '-')}.html")
                work.say(row((data, dtype, what or "gradient descent", *figures.values())))
                if found.outcome is not Outcome.PARITY:
                    faults.append(f"{name}: {figures['outcome']} {figures['divergence']}")
    for fault in faults:
        work.fail(fault)


def tf32(work):
    """This process has CUPY_TF32=1, which must not reach a product of a plain backend."""
    from portadnn.errors import InputError

    plain = work.connect()
    if is_stand_in(plain.device_text):
        raise Skip("the stand-in ignores TF32")
    try:
        tf32 = plain.tf32()
    except InputError as error:
        raise Skip(str(error)) from error
    judge_tf32(work, plain, tf32)


def judge_tf32(work, plain, tf32):
    """Parity must find products in TF32, name them, and pass them if they are declared."""
    from portadnn.parity.compare import Outcome, compare

    run = drawn_run((784, 256, 256, 10), 256, steps=1)
    without = compare(run, [plain])
    undeclared = compare(run, [tf32], matmul="float32")
    declared = compare(run, [tf32])
    cause = undeclared.certificates[0].cause
    named = cause.name if cause else "nothing"
    work.figures.update(
        plain=summary(without),
        float32_declared=summary(undeclared) | {"cause": named},
        tf32_declared=summary(declared),
    )
    work.say(
        f"* plain products: {without.outcome.value}",
        f"* products in TF32, float32 declared: {undeclared.outcome.value}, cause named: "
        f"{cause or 'none'}",
        f"* matmul=tf32 declared: {declared.outcome.value}, largest ratio "
        f"{summary(declared)['largest_ratio']}",
    )
    if without.outcome is not Outcome.PARITY:
        work.fail(f"products are plain, but parity says {without.outcome.value}")
    if undeclared.outcome is Outcome.PARITY:
        work.fail("products are in TF32 and float32 is declared, but parity says PARITY")
    elif named != "TF32":
        work.fail(f"parity does not name TF32 as the cause, but {named}")
    if declared.outcome is not Outcome.PARITY:
        work.fail(f"with matmul=tf32 declared parity says {declared.outcome.value}")


def runs(small):
    """The runs to compare, by the name of their data."""
    from cats import cat_files

    from portadnn.data.hdf5 import load_digits
    from portadnn.data.load import load_dataset

    digits = load_digits()[0]
    files = cat_files()
    if small:
        cats = {"drawn cats, small": drawn_run((768, 20, 7, 5, 1), 50, steps=2)}
        digits = replace(digits, examples=digits.examples[:64], labels=digits.labels[:64])
    elif files:
        cats = {"cats": run_of(load_dataset(files[0], "train"), (20, 7, 5), 0.0075, 3)}
    else:
        cats = {"drawn cats": drawn_run((12288, 20, 7, 5, 1), 209, steps=3)}
    return {**cats, "digits": run_of(digits, (64, 32), 0.1, 2 if small else 3)}


def run_of(data, hidden, rate, steps):
    """A run on a data set."""
    X, Y = data.columns("float64"), data.targets("float64")
    return declared_run((X.shape[0], *hidden, Y.shape[0]), X, Y, rate, steps)


def drawn_run(dims, m, steps):
    """A run on drawn data: images of uniform pixels, random labels."""
    import numpy as np

    rng = np.random.default_rng(0)
    X, labels = rng.random((dims[0], m)), rng.integers(0, max(dims[-1], 2), m)
    Y = labels[None, :] if dims[-1] == 1 else labels == np.arange(dims[-1])[:, None]
    return declared_run(dims, X, Y.astype(float), 0.0075, steps)


def declared_run(dims, X, Y, rate, steps):
    """Gradient descent from the course's draw, with a sigmoid for one output, else softmax."""
    from portadnn.network.initializers import initialize_parameters_deep
    from portadnn.network.spec import Network
    from portadnn.parity.run import Run
    from portadnn.training.declaration import Declaration

    network = Network(dims, "relu", "sigmoid" if dims[-1] == 1 else "softmax")
    declared = Declaration(learning_rate=rate)
    return Run(network, initialize_parameters_deep(dims), X, Y, declared, steps)


def everything(run):
    """The same run with AdamW, penalties, clipping, dropout, weights and minibatches."""
    import numpy as np

    from portadnn.training.declaration import Declaration
    from portadnn.training.weights import normalized

    m, hidden = run.X.shape[1], len(run.network.layer_dims) - 2
    declared = Declaration(
        optimizer="adamw", learning_rate=1e-3, batch_size=min(64, m // 2), l2=1e-3, l1=1e-4,
        clip_norm=1.0, dropout=(0.5, 0.0, 0.2)[:hidden],
    )  # fmt: skip
    weights = normalized(np.random.default_rng(0).uniform(0.5, 2.0, m))
    return replace(run, declaration=declared, weights=weights)


def summary(found):
    """The figures of a comparison; those of operations are of its last backend."""
    certificate = found.certificates[-1]
    worst = certificate.largest
    divergence = found.first_divergence
    return {
        "outcome": found.outcome.value,
        "operations": len(certificate.checks),
        "largest_ratio": round(worst.ratio, 4) if worst else None,
        "at": worst.tensor if worst else "",
        "kinks": len(found.kinks),
        "divergence": f"{divergence[0]}: {divergence[1]}" if divergence else "",
    }
