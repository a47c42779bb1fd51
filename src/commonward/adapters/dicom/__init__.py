"""DICOM ophthalmic photography: one still 8-bit picture of an eye, out of an untrusted file."""

from commonward.adapters.dicom.photography import read_photography

__all__ = ["read_photography"]
