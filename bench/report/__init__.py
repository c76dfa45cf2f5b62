"""What is shown: tables, figures, words and pages, of what bench.judge has decided. No torch."""
