"""``python -m dsd_bench`` is ``dsd-bench``."""

from dsd_bench.cli import main

if __name__ == "__main__":
    main()
