"""HL7 v2 messages (ER7) read lazily and turned into FHIR R4."""
