"""Photographs of eyes: folders of JPEG and PNG files, and a generator of synthetic ones."""

from commonward.adapters.images.folder import read_folder, read_list
from commonward.records.images.decode import decoded

__all__ = ["decoded", "read_folder", "read_list"]
