"""FHIR R4 bundles from files, checked against the official schema."""
