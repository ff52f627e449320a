"""The door for ``python -m n2n.train``, behind which is ``n2n.worker``; in Python ``n2n.train`` is the function."""

import os
import sys

from n2n.ranks import started_by_torchrun
from n2n.worker import main

if __name__ == "__main__":
    code = main()
    if started_by_torchrun():
        # All is written and the others were taken leave of. The interpreter's own end, with threads of torch's still
        # there, now and then aborts a rank that is done, and torchrun would wait for it for five minutes.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
