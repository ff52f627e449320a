"""The command ``python -m n2n.experiments``: a design from a shell."""

from n2n.experiments.command import main

if __name__ == "__main__":
    raise SystemExit(main())
