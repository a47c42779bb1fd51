"""The command line. Each file here is a group of commands about one thing; rules live in other rooms.

Exit codes: 0 done, 1 refused or not convincing, 2 wrong usage or unreadable input, 3 a node or the ledger is away.
"""

from commonward.apps.cli.main import main, program

__all__ = ["main", "program"]
