"""Writes the JSON Schemas of docs/schema: python -m bench.report.schemas docs/schema.

They are made from the records that headstart itself reads and writes with.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

from bench.files import write_json
from bench.judge.records import Report
from bench.ledger.events import event_schema
from bench.ledger.json_records import JsonObject, json_schema


def schemas() -> Mapping[str, JsonObject]:
    """Return each schema by the name of its file."""
    return {
        "report.schema.json": {"title": "report.json of headstart", **json_schema(Report)},
        "event.schema.json": {"title": "a line of a headstart ledger", **event_schema()},
    }


def main(folder: str) -> None:
    """Write every schema into a folder."""
    for name, schema in schemas().items():
        write_json(Path(folder) / name, schema)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the JSON Schemas of headstart's files.")
    parser.add_argument("folder", help="where to, as docs/schema")
    main(parser.parse_args().folder)
