"""The shape of the project, read from its source: floors, doors, ceilings, words. Nothing here runs what it reads."""
