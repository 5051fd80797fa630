"""What each backend can do through its bare driver, with everything ready-made: one file each.

``publisher`` and ``drainer`` for those that carry events, ``writer`` and ``asker`` for those that
hold vectors. Each prepares outside the clock and returns what is timed.
"""
