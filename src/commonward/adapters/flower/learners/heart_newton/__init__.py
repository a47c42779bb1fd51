"""Logistic regression by Newton steps: gradient and Hessian of each site, one solve by all."""
