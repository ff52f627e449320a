"""The door for ``python -m n2n.train``, behind which is ``n2n.worker``; in Python ``n2n.train`` is the function."""

import sys

from n2n.worker import main

if __name__ == "__main__":
    sys.exit(main())
