"""Medical records shared with no central owner: `ledger` <- `records` <- `workflows` <- `adapters` <- `apps`."""
