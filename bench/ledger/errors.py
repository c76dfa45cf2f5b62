"""What may be wrong with what is stored. Needs the standard library alone."""


class LedgerError(ValueError):
    """A ledger cannot be believed: it is damaged, or not what it is taken for."""
