"""Photographs of eyes: folders of JPEG and PNG files, and a generator of synthetic ones."""

from commonward.adapters.images.encode import encoded, fitted
from commonward.adapters.images.folder import (
    Listed,
    inside,
    list_file,
    list_folder,
    read_bytes,
    read_folder,
    read_list,
    read_listed,
)
from commonward.records.images.decode import decoded

__all__ = [
    "Listed",
    "decoded",
    "encoded",
    "fitted",
    "inside",
    "list_file",
    "list_folder",
    "read_bytes",
    "read_folder",
    "read_list",
    "read_listed",
]
