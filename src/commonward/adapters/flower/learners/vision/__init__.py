"""What learners of photographs share: the backbone and its weights, pictures to tensors, features, heads, privacy.

Part of the digest of each that uses it. Pure functions over numpy and torch; nothing here knows Flower.
"""
