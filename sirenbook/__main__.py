"`python -m sirenbook` is the `sirenbook` command."
import sys

from sirenbook.cli import main

if __name__ == "__main__": sys.exit(main())
