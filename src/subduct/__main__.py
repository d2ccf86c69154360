"""`python -m subduct` is the command `subduct`."""

import sys

from subduct.cli import main

sys.exit(main())
