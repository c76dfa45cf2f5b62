"""What the ledgers mean: clocks, rules, statistics, comparison, verdict, audit, tuning, verify.
Pure, no torch.
"""
