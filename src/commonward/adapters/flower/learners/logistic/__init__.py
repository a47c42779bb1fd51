"""Logistic regression over any cohort: by Newton steps, or by gradient descent."""
