"""`commonward demo`: the whole job on this machine, in plain words."""
