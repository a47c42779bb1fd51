"""Keys and certificates at rest and in use: a member's CA, its keys for each purpose, staff certificates, TLS.

Private keys are encrypted PKCS#8 in files only their owner may read; a file that others may read is refused, not
warned about. Passphrases come from a file, never from the command line.
"""

from commonward.adapters.keys.authority import CertificateAuthority, StaffKey
from commonward.adapters.keys.contexts import client_context, server_context, trust
from commonward.adapters.keys.errors import KeyFileExposed, KeyFileMissing, KeyFileUnreadable, KeyUnusable
from commonward.adapters.keys.member import MemberKeys
from commonward.adapters.keys.pkcs8 import passphrase_file, read_private, write_private

__all__ = [
    "CertificateAuthority",
    "KeyFileExposed",
    "KeyFileMissing",
    "KeyFileUnreadable",
    "KeyUnusable",
    "MemberKeys",
    "StaffKey",
    "client_context",
    "passphrase_file",
    "read_private",
    "server_context",
    "trust",
    "write_private",
]
