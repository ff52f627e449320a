"""Entry point of ``python -m n2n.training``."""

import os
import sys

from n2n.training.cli import main
from n2n.training.ranks import started_by_torchrun

if __name__ == "__main__":
    code = main()
    if started_by_torchrun():
        # All is written and the others were taken leave of. The interpreter's own end was seen to abort a rank that was
        # done (a thread that was still there), and torchrun's other agents wait five minutes for such a one.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
