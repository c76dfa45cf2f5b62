"""The shape of the project, read from its source: floors, doors, style, words.

Nothing here runs what it reads.
"""
