"""Process and machine: ranks, random streams, clocks' raw readings, precision, compiling, facts."""
