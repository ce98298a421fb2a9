"""Statistics of experiments: pure functions of sums, without SQL, I/O or a clock.

Every formula names its source. Users are the observations: what one user did is correlated, what two did
is not.
"""
