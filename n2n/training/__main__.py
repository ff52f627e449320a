"""Entry point of ``python -m n2n.training``."""

import os
import sys

from n2n.training.cli import main
from n2n.training.process_group import launched_by_torchrun

if __name__ == "__main__":
    code = main()
    if launched_by_torchrun():
        # Everything is written and the process group is closed. Python's own shutdown sometimes aborted a finished
        # process because of a remaining thread, and torchrun's other agents then wait five minutes for it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
