"""`python -m lexigram_actors.cli`, the same as the command `lexigram-actors`."""

import sys

from lexigram_actors.cli import main

if __name__ == "__main__":
    sys.exit(main())
