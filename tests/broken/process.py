"""What no other process has: numbers that go by Python's hash of a word.

Their range is wide, so that two processes never agree by chance; the tests would fail then.
"""

from __future__ import annotations

import random

SEED = hash("a word") % 2**63
FACTOR = random.Random(SEED).uniform(0.1, 1.0)
