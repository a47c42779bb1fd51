"""Counts, sums and tables of any cohort's columns, as the study declares them."""
