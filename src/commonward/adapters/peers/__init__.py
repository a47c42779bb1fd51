"""Member to member over mutual TLS."""
