"""What one member does, one module a job; `ports` says what it needs of the world."""
