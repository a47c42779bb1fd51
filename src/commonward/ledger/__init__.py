"""What every node must compute alike: pure functions over bytes."""
