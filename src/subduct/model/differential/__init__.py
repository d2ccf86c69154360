"""The model against the running kernel: random calls on both, compared after every one.

`python -m subduct.model.differential` needs Hypothesis beside this package.
"""
