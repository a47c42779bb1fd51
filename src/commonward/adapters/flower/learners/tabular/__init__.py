"""What the learners of tables share: features, judging, noise. Part of the digest of each that uses it."""
