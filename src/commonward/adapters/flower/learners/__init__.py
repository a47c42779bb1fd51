"""Learners that come with Commonward: each a folder with learner.json and a Flower ClientApp in app.py."""
