"""What happened: events, typed records of a run, the run store, and folding events into a result.

No torch. JSON is read and written in json_records.py alone.
"""
