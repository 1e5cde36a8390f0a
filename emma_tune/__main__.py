"""`python -m emma_tune`."""

from emma_tune.cli import main

main()
