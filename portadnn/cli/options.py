"""Options and exit codes that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter, Token

from portadnn.errors import InputError

if TYPE_CHECKING:
    from portadnn.backends import Backend
    from portadnn.data.dataset import Dataset
    from portadnn.training.declaration import Declaration

EXIT_DIVERGED = 1
EXIT_WRONG = 1  # a check failed
EXIT_BAD_INPUT = 2
EXIT_SIGNAL = 128  # plus the number of the signal, as in shells

Dtype = Literal["float32", "float64"]
ModelFile = Annotated[Path, Parameter(help="A model.h5 of `portadnn train`.")]
Split = Annotated[
    Literal["train", "test"] | None,
    Parameter(help="Which part of the data; default test if the file has it, else train."),
]


def _text(_type: object, tokens: Sequence[Token]) -> str:
    return tokens[0].value


# keeps the raw text, which may have options: momentum:0.95, 0.3,0.1, auto. The type is only for the
# help and for shell completion
AsTyped = Parameter(converter=_text, show_choices=False)
DataFile = Annotated[
    Path | None,
    AsTyped,
    Parameter(help="A file or folder as `portadnn train` reads it; without it the digits."),
]
LabelsFile = Annotated[
    Path | None, AsTyped, Parameter(help="The file with the labels, if they have one of their own.")
]
Library = Literal["numpy", "cupy", "torch", "jax", "dask", "strict", "auto"]
BackendOption = Annotated[
    Library,
    AsTyped,
    Parameter(
        name="--backend",
        help="numpy, cupy, torch, jax, dask or strict; a device can follow after a colon "
        "(cupy:1, torch:cuda, jax:gpu); auto takes a working GPU through CuPy, else NumPy.",
    ),
]
Distributed = Annotated[
    str | None,
    Parameter(
        help="mpi, if mpiexec or srun started this command: its processes share the work. Options "
        "follow, as in mpi:timeout=60,shares=1/2."
    ),
]
Isolated = Annotated[
    bool,
    Parameter(negative="", help="Read the data in a process with limits, for untrusted files."),
]

Stream = Annotated[
    bool | None,
    Parameter(
        negative="",
        show_default=False,
        help="Leave the examples in the file and read them as they are needed. Default if they "
        "would take more than half of the memory.",
    ),
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """How to read labelled data for a model.

    Parameters
    ----------
    target
        The column or dataset to predict, as for `portadnn train`, if a file has several. The model
        of a table knows it.
    """

    target: str | None = None
    split: Split = None
    isolated: Isolated = False
    stream: Stream = None

    def load(self, model: Any, data: Path | None, labels: Path | None) -> Dataset:
        """The data as ``data_for`` gives them."""
        from portadnn.cli.output import passes_shown
        from portadnn.training.inference import data_for
        from portadnn.training.texts import names

        given: dict[str, Any] = {"isolated": self.isolated, "stream": self.stream}
        if self.target is not None:
            given["target"] = names(self.target, "--target")
        with passes_shown():
            return data_for(model, data, self.split, labels=labels, **given)


FOR_MODEL = DataOptions()


def backend_of_run(name: str, run: Declaration) -> tuple[Backend, InputError | None]:
    """The backend of a run; if it does not have TF32, that with plain products, and the error.

    A backend without TF32 may check one that has it.
    """
    from portadnn.backends import get_backend

    how = {"dtype": run.dtype, "arithmetic": run.arithmetic}
    try:
        return get_backend(name, **how, matmul=run.matmul), None
    except InputError as error:
        return get_backend(name, **how), error


def _whole_number(_type: object, tokens: Sequence[Token]) -> int:
    return int(tokens[0].value)  # 2.9 is a mistake, not 3


WholeNumber = Annotated[int, Parameter(converter=_whole_number)]
JsonOption = Annotated[
    bool,
    Parameter(name="--json", negative="", help="Print one JSON object on stdout, nothing else."),
]
