"""What never goes on the ledger: records, openings, decisions, evidence. Pure; salts, nonces and times are passed in."""
