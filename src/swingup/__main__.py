"""`swingup` and `python -m swingup`."""

import os


def main() -> None:
    """The command line, with one thread for NumPy: a policy's products of ten rows are no work for two, and OpenBLAS's second one,
    spinning, takes a core from XLA (a run took 9.9 s instead of 8.8). It must be said before NumPy is imported."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from swingup.cli.main import main

    main()


if __name__ == "__main__":
    main()
