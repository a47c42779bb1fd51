"""Where patients sign: the server part that any member serves, and a passkey in software that uses it."""
