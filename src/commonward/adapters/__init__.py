"""The world: one package for each outside thing, the only importer of its library."""
