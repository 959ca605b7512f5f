"""The same training in several libraries: what peers.py, growth.py and their workers share."""

import sys
from pathlib import Path

SCRIPTS = str(Path(__file__).resolve().parents[2])
if SCRIPTS not in sys.path:  # cats.py is there
    sys.path.append(SCRIPTS)
