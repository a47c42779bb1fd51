"""Logistic regression by gradient descent, for FedAvg and its kin, with privacy where asked."""
