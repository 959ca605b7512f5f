"""The program ``portadnn``: its commands and exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

import portadnn
from portadnn.blas import set_kernel, share_cores
from portadnn.cli.backends import backends
from portadnn.cli.evaluate import evaluate
from portadnn.cli.export import export
from portadnn.cli.fingerprint import fingerprint
from portadnn.cli.gradcheck import gradcheck
from portadnn.cli.inspect import inspect
from portadnn.cli.options import EXIT_BAD_INPUT, EXIT_SIGNAL
from portadnn.cli.output import any_encoding, complain, discard_stdout, is_broken_pipe
from portadnn.cli.parity import parity
from portadnn.cli.predict import predict
from portadnn.cli.summary import summary
from portadnn.cli.train import train
from portadnn.cli.verify import verify
from portadnn.errors import InputError, safe_text
from portadnn.training.stops import signal_of

app = App(
    name="portadnn",
    help="Train a neural network on images or tables, on any array backend, with the same numbers.",
    version=portadnn.__version__,
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
app.command(parity)
# each imports what it needs inside
for _command in (
    train, evaluate, predict, verify, summary, inspect, gradcheck, fingerprint, backends,
):  # fmt: skip
    app.command(_command)
app.command(export, name=("export", "import"))
app.register_install_completion_command(help="Teach your shell the commands, options and names.")


@any_encoding()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns the exit code.

    0 success, 1 training diverged or a check failed, 2 bad input (said on stderr; nothing written),
    128 plus the number of a signal: 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP.
    """
    set_kernel()  # the commands import NumPy
    share_cores()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return app(arguments or ["--help"], exit_on_error=False) or 0
    except CycloptsError:
        return EXIT_BAD_INPUT  # already printed
    except InputError as error:
        return _fail(error)
    except KeyboardInterrupt as error:
        complain("\ninterrupted")
        return EXIT_SIGNAL + signal_of(error)
    except (OSError, MemoryError) as error:
        if isinstance(error, OSError) and is_broken_pipe(error):
            discard_stdout()  # `portadnn predict ... | head`: the reader has what it wanted
            return 0
        return _fail(error)
    except RuntimeError as error:
        from portadnn.backends import BackendUnavailableError

        if not isinstance(error, BackendUnavailableError):
            raise
        return _fail(error)


def _fail(error: Exception) -> int:
    text = safe_text(str(error)) or type(error).__name__
    if getattr(error, "elsewhere", False):  # the first rank prints it
        return EXIT_BAD_INPUT
    if isinstance(error, MemoryError) and not isinstance(error, InputError):
        text = f"there is not enough memory ({text}): take fewer examples or float32"
    complain(f"portadnn: error: {text}")
    return EXIT_BAD_INPUT
