"""Pathogens of keratitis from slit-lamp photographs: a head on a frozen backbone, or both, with privacy where asked."""
