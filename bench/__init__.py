"""Benchmarks, one file each: `python -m bench` lists them, `python -m bench NAME` runs one.

A benchmark is a module here with a docstring (its first paragraph goes into docs/performance.md) and a `run()` that
yields `bench.results.Result`. If `run` takes `scale`, `--scale 0.1` runs it at a tenth of its size.
"""
