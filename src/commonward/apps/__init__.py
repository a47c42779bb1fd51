"""Programs: thin. `settings` alone reads the environment, `wiring` alone joins adapters to ports."""
