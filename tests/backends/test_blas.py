"""Which BLAS kernel suits a processor, and what is said of it."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portadnn.backends import get_backend
from portadnn.backends.numpy import running_kernel
from portadnn.blas import (
    AVX512_KERNEL,
    NEEDED_FLAGS,
    THREADS,
    VARIABLE,
    kernel_for,
    set_kernel,
    share_cores,
    this_processor,
)

AVX2_FLAGS = (
    "fpu sse sse2 ht syscall nx rdtscp lm pni pclmulqdq ssse3 fma cx16 sse4_1 sse4_2 movbe popcnt "
    "aes xsave avx f16c rdrand lahf_lm abm sse4a bmi1 avx2 smep bmi2 erms rdseed adx clflushopt"
)
AVX512_FLAGS = "avx512f avx512dq avx512ifma avx512cd avx512bw avx512vl avx512_vnni avx512_bf16"


def cpuinfo(vendor, family, flags, processors=2):
    block = (
        "processor\t: {}\nvendor_id\t: {}\ncpu family\t: {}\nmodel\t\t: 17\n"
        "model name\t: A processor: fast\nflags\t\t: {}\nbugs\t\t: spectre_v1\n"
        "power management:\n\n"
    )
    return "".join(block.format(i, vendor, family, flags) for i in range(processors))


ZEN_3 = cpuinfo("AuthenticAMD", 25, AVX2_FLAGS)
ZEN_4 = cpuinfo("AuthenticAMD", 25, f"{AVX2_FLAGS} {AVX512_FLAGS}")
ZEN_5 = cpuinfo("AuthenticAMD", 26, f"{AVX2_FLAGS} {AVX512_FLAGS} avx512_vp2intersect")
ICE_LAKE = cpuinfo("GenuineIntel", 6, f"{AVX2_FLAGS} {AVX512_FLAGS}")
ARM = (
    "processor\t: 0\nBogoMIPS\t: 243.75\nFeatures\t: fp asimd evtstrm aes sve bf16\n"
    "CPU implementer\t: 0x41\nCPU architecture: 8\n\n"
)


@pytest.mark.parametrize(
    ("text", "kernel"),
    [
        (ZEN_3, None),
        (ZEN_4, "SkylakeX"),
        (ZEN_5, "SkylakeX"),
        (ICE_LAKE, None),  # OpenBLAS takes it of itself
        (ARM, None),
        ("", None),
        (ZEN_4 + ZEN_3, None),  # one processor that lacks it is one too many
        (ZEN_4.replace("vendor_id", "vendor"), None),
        (ZEN_4.replace("flags", "Features"), None),
    ],
    ids=["zen3", "zen4", "zen5", "icelake", "arm", "nothing", "mixed", "no vendor", "no flags"],
)
def test_the_kernel_for_a_processor(text, kernel):
    assert kernel_for(text) == kernel


@pytest.mark.parametrize("flag", sorted(NEEDED_FLAGS))
def test_a_processor_without_one_needed_feature_is_left_alone(flag):
    # SIGILL otherwise; a flag counts as a whole word
    flags = [f for f in f"{AVX2_FLAGS} {AVX512_FLAGS}".split() if f != flag]
    assert kernel_for(cpuinfo("AuthenticAMD", 25, " ".join([*flags, f"{flag}x"]))) is None


LINES = sorted({*ZEN_4.splitlines(), *ZEN_3.splitlines(), *ICE_LAKE.splitlines()})


@given(st.text(max_size=60) | st.lists(st.sampled_from(LINES), max_size=12))
def test_any_text_is_read(text):
    text = text if isinstance(text, str) else "\n".join(text)
    kernel = kernel_for(text)
    if kernel is not None:
        flags = [line for line in text.splitlines() if line.startswith("flags")]
        assert flags
        assert all(set(line.partition(":")[2].split()) >= NEEDED_FLAGS for line in flags)


@given(st.sets(st.sampled_from(sorted(NEEDED_FLAGS))), st.permutations(AVX2_FLAGS.split()))
def test_exactly_the_processors_that_have_all_it_needs(present, others):
    flags = [f for f in others if f not in NEEDED_FLAGS] + sorted(present)
    expected = AVX512_KERNEL if present == NEEDED_FLAGS else None
    assert kernel_for(cpuinfo("AuthenticAMD", 26, " ".join(flags))) == expected


def test_no_file_no_kernel(tmp_path):
    assert this_processor(str(tmp_path / "absent")) == ""


@pytest.mark.parametrize("system", ["darwin", "win32", "freebsd14"])
def test_other_systems_are_left_alone(system, monkeypatch):
    monkeypatch.setattr(sys, "platform", system)
    assert this_processor() == ""


def test_other_machines_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("os.uname", lambda: type("", (), {"machine": "aarch64"}), raising=False)
    assert this_processor() == ""


def test_the_variable_is_set_once_and_never_over_the_users():
    environment = {}
    assert set_kernel(environment, cpuinfo=ZEN_5, loaded={}) == "SkylakeX"
    assert environment == {VARIABLE: "SkylakeX"}
    assert set_kernel(environment, cpuinfo=ZEN_5, loaded={}) is None
    for own in ("Haswell", ""):
        environment = {VARIABLE: own}
        assert set_kernel(environment, cpuinfo=ZEN_5, loaded={}) is None
        assert environment == {VARIABLE: own}


def test_nothing_is_set_for_others_or_too_late():
    environment = {}
    for text in (ZEN_3, ICE_LAKE, ARM, ""):
        assert set_kernel(environment, cpuinfo=text, loaded={}) is None
    assert set_kernel(environment, cpuinfo=ZEN_5, loaded={"numpy": np}) is None
    assert environment == {}
    assert set_kernel() is None  # NumPy is loaded here


def test_ranks_on_a_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    for name in ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE"):
        environment = {name: "3"}
        assert share_cores(environment, cores=8) == 2  # each may run on all 8
        assert environment[THREADS] == "2"
    assert share_cores({"MPI_LOCALNRANKS": "3"}, cores=4) == 4  # bound to cores of its own
    assert share_cores({"MPI_LOCALNRANKS": "20"}, cores=8) == 1


@pytest.mark.parametrize(
    "environment",
    [{}, {"MPI_LOCALNRANKS": "1"}, {"MPI_LOCALNRANKS": "4", "OMP_NUM_THREADS": "3"},
     {"MPI_LOCALNRANKS": "4", "OPENBLAS_NUM_THREADS": "3"}],
)  # fmt: skip
def test_threads_stay_as_they_are_for_one_rank_and_for_users_who_set_them(environment):
    before = dict(environment)
    assert share_cores(environment, cores=8) is None
    assert environment == before


def test_the_library_never_touches_the_environment():
    program = (
        "import os, threadpoolctl\n"  # which sets KMP_DUPLICATE_LIB_OK when it is imported
        "before = dict(os.environ)\n"
        "import portadnn as dnn\n"
        "train, _ = dnn.load_digits()\n"
        "dnn.train(train, layers=[4], epochs=1, backend='numpy')\n"
        "assert dict(os.environ) == before"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def require_openblas():
    if running_kernel() is None:
        pytest.skip("NumPy's BLAS is not OpenBLAS here")


CERTIFIED_RUN = """
import numpy as np
from portadnn.backends import get_backend
from portadnn.backends.numpy import running_kernel
from portadnn.network.initializers import initialize_parameters_deep
from portadnn.network.spec import Network
from portadnn.parity.compare import compare
from portadnn.parity.run import Run
from portadnn.training.declaration import Declaration

network = Network((300, 20, 5, 1))
rng = np.random.default_rng(0)
X, Y = rng.standard_normal((300, 97)), rng.integers(0, 2, (1, 97)).astype(float)
declaration = Declaration(learning_rate=0.05)
run = Run(network, initialize_parameters_deep(network.layer_dims), X, Y, declaration, 3)
for dtype in ("float32", "float64"):
    result = compare(run, [get_backend("numpy", dtype=dtype)], check_mode=False)
    print(running_kernel(), dtype, result.outcome.name)
"""


@pytest.mark.parametrize("kernel", [None, AVX512_KERNEL, "Haswell"])
def test_every_kernel_stays_within_the_bounds_of_parity(kernel, monkeypatch):
    require_openblas()
    text = this_processor()
    flags = {flag for line in text.splitlines() if line[:5] == "flags" for flag in line.split()}
    if kernel == AVX512_KERNEL and not flags >= NEEDED_FLAGS:
        pytest.skip("this processor lacks AVX-512, or is not Linux's to tell")
    if kernel == "Haswell" and not flags >= {"avx2", "fma"}:
        pytest.skip("this processor lacks AVX2, or is not Linux's to tell")
    monkeypatch.delenv(VARIABLE, raising=False)
    if kernel is not None:
        monkeypatch.setenv(VARIABLE, kernel)
    done = subprocess.run(
        [sys.executable, "-c", CERTIFIED_RUN], capture_output=True, text=True, check=True
    )
    for line, dtype in zip(done.stdout.splitlines(), ["float32", "float64"], strict=True):
        ran, found, outcome = line.split(maxsplit=2)
        if kernel not in (None, ran):
            pytest.skip(f"this OpenBLAS has no {kernel} kernel, it ran {ran}")
        assert (found, outcome) == (dtype, "PARITY")


def test_the_kernel_is_on_record_in_the_environment_of_a_backend():
    from portadnn.backends import environment

    require_openblas()
    assert f"{running_kernel()} kernel" in environment(get_backend("numpy"))["details"]
