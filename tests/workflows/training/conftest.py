"""Stories run on both engines."""

from tests.both_engines import ordered_by, pytest_generate_tests

__all__ = ["ordered_by", "pytest_generate_tests"]
