"""What happened and what it means: events, store, fold, clocks, comparison, report. No torch."""
