"""The command ``python -m n2n.launch``: a sweep from a shell."""

from n2n.launch.command import main

if __name__ == "__main__":
    raise SystemExit(main())
