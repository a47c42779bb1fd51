"""A consortium at a glance: `looking` asks every node, `judging` says in words what is wrong, `screen` shows both."""
