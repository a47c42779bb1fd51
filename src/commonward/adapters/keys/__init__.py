"""Keys at rest, certificate authorities, TLS contexts."""
