"""A time-stamping authority over HTTP (RFC 3161, section 3.4). Its tokens are judged in `records.timestamps`."""

from .client import AuthorityClient

__all__ = ["AuthorityClient"]
