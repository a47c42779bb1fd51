"""CometBFT as the engine: it agrees on the order of bundles, this member's replica executes them.

`engine.CometEngine` is all of it: the ABCI server on a unix socket, CometBFT's home, its process, and the line that
carries this member's bundles to it. docs/cometbft.md says what each setting bought.
"""
