"""An experiment: planned into blocks of runs, assembled, executed, summed up."""
