"""The stages in the order in which they run: the answers that cost least come first."""

from gpu.runner import Stage

# the float64 shadow of parity is NumPy's, whose threads hinder each other on a busy machine
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

# together at most 540 s, so that the whole check fits into ten minutes
STAGES = (
    Stage(
        "environment",
        "libraries, precision modes, driver and card",
        "gpu.stages.environment:environment",
        25,
    ),
    Stage(
        "exactness",
        "every operation has the known bits, the ground of reproducible arithmetic",
        "gpu.stages.environment:exactness",
        15,
    ),
    Stage(
        "fingerprints",
        "reproducible training ends with the bits that the checkout ships",
        "gpu.stages.bits:fingerprints",
        70,
    ),
    Stage(
        "libraries",
        "the same bits through PyTorch and JAX on the same card",
        "gpu.stages.bits:libraries",
        70,
    ),
    Stage(
        "parity",
        "every operation of a few steps within its bound, beside NumPy",
        "gpu.stages.parity:parity",
        45,
        ONE_THREAD,
    ),
    Stage(
        "tf32",
        "parity names TF32, and accepts it if it is declared; CUPY_TF32=1 alone changes nothing",
        "gpu.stages.parity:tf32",
        15,
        ONE_THREAD | {"CUPY_TF32": "1"},
    ),
    Stage("suite", "the tests on this backend, in parallel", "gpu.stages.suite:suite", 80),
    Stage(
        "sample",
        "a step with the first layer in sample space, and without",
        "gpu.stages.timing:sample",
        15,
    ),
    Stage(
        "crossing",
        "the width from which a step is faster than on NumPy",
        "gpu.stages.timing:crossing",
        25,
    ),
    Stage(
        "contest",
        "time of a step and memory of the card, beside PyTorch and JAX",
        "gpu.stages.contest:contest",
        180,
    ),
)
