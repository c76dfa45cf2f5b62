"""Process and machine: ranks, random streams, clocks' raw readings, how steps are computed,
facts.
"""
