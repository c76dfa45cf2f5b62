"""What is shown: tables, figures, words and pages, made from what bench.judge has decided. No torch."""
