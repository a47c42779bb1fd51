"""Bytes at rest: the vault, the ledger's state, the log's tiles, the blocks."""
