"""Photographs of eyes on their way into a member's vault: found, read, looked at, made into FHIR records."""
