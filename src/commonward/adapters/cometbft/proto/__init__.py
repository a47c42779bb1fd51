"""CometBFT's messages: classes made by `regenerate.py` from its own definitions, for 0.38.25 and 0.39.4 alike.

CometBFT's definitions are licensed under Apache-2.0, as this project is.
"""
