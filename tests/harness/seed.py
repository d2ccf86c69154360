"""The seed of the run: random, printed, and taken from SUBDUCT_SEED to repeat a run."""

import os
import random

SEED = int(os.environ.get("SUBDUCT_SEED") or random.SystemRandom().randrange(1 << 32))
# The processes that the tests are shared out to have the same.
os.environ["SUBDUCT_SEED"] = str(SEED)
