"""What never goes on the ledger: records, openings, decisions, evidence. Pure: salts, nonces, times are passed in."""
