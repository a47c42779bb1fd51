"""The control API: what a member's own programs ask of its running node, over a socket only its owner may open."""
