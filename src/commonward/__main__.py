"""`python -m commonward` is the command line."""

from commonward.apps.cli import main

main()
