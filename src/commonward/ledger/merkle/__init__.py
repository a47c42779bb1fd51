"""The two trees: the log of what happened (RFC 9162) and the authenticated map of what lives."""
