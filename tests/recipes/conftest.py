"""Lets the tests of this folder import `toys`, which they also run as a program."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
