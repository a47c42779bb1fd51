"""Learning together: the one loop that each enrolled member of a study runs, and what it needs of the world."""
