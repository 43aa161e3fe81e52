"""Lets the tests of this folder import `analytic`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
