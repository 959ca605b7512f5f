"""``python -m portadnn``, the same program as ``portadnn``."""

import sys

from portadnn.cli.main import main

sys.exit(main())
