"""The course's cat images: where tests and scripts find them.

The project does not ship them. The environment variable PORTADNN_CATS names the folder that has
train_catvnoncat.h5 and test_catvnoncat.h5. If it is not set, tests skip and scripts draw data.
"""

import os
from pathlib import Path

VARIABLE = "PORTADNN_CATS"
NAMES = ("train_catvnoncat.h5", "test_catvnoncat.h5")


def cat_files():
    """The training and the test file, or None if the variable is not set.

    Raises
    ------
    FileNotFoundError
        If the folder does not have both.
    """
    folder = os.environ.get(VARIABLE)
    if not folder:
        return None
    paths = tuple(Path(folder, name) for name in NAMES)
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(
                f"{VARIABLE} is {folder!r}, but {path.name} is not there: name the folder that "
                f"has {' and '.join(NAMES)}, or unset the variable"
            )
    return paths
