"""Entry point of the commands `swingup` and `python -m swingup`."""

import os


def main() -> None:
    """Run the command line, with one thread for NumPy.

    A policy's matrix products are too small for two threads, and OpenBLAS's second thread, spinning, takes a
    core from XLA (a run took 9.9 s instead of 8.8). OpenBLAS reads the variable when NumPy is imported.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from swingup.cli.main import main

    main()


if __name__ == "__main__":
    main()
