"""The one place where records are read from JSON and made into it.

A record is a frozen dataclass below `Record`. What does not fit one is answered with a sentence.
"""

import functools
from collections.abc import Mapping
from typing import TypeVar

from pydantic import ConfigDict, Field, JsonValue, TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema

from bench.files import json_text

__all__ = [
    "GrownRecord",
    "JsonObject",
    "JsonValue",
    "Record",
    "RecordType",
    "always",
    "json_schema",
    "meaning",
    "parse",
    "parse_by",
    "schema_by",
    "stored_as",
    "to_json",
    "to_json_bytes",
]

JsonObject = Mapping[str, JsonValue]
RecordType = TypeVar("RecordType")


class Record:
    """The base of every record: an unknown key is refused, and nothing is converted silently.

    Fields with a default may be missing in what is read, and stand in all that is written.
    """

    __pydantic_config__ = ConfigDict(
        extra="forbid", strict=True, json_schema_serialization_defaults_required=True
    )


class GrownRecord(Record):
    """A record whose fields with a default came later: files of the same version may lack them."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)


def stored_as(key: str) -> object:
    """Say under which key a field stands in the file, as in `Annotated[str, stored_as("told")]`."""
    field: object = Field(alias=key)
    return field


def meaning(text: str) -> object:
    """Say what a field holds where its name does not: its description in the JSON Schema."""
    field: object = Field(description=text)
    return field


def always(value: int) -> object:
    """Say the one value that a field is written with; reading refuses no other."""
    field: object = Field(json_schema_extra={"const": value})
    return field


def parse(record_type: type[RecordType], text: bytes | str) -> RecordType:
    """Read a record from JSON. Raises ValueError, which says what is wrong, and where."""
    return parse_by(_adapter(record_type), text)


def parse_by(adapter: TypeAdapter[RecordType], text: bytes | str) -> RecordType:
    """Read what an adapter reads, as one of a union of records, as `parse` does."""
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        raise ValueError(_sentence(error)) from None


def to_json(record: object) -> dict[str, JsonValue]:
    """Make a record into what JSON knows: objects, lists, strings, numbers, null."""
    tree: dict[str, JsonValue] = _adapter(type(record)).dump_python(
        record, mode="json", by_alias=True
    )
    return tree


def to_json_bytes(record: object) -> bytes:
    """Make a record into a JSON file's content. Raises ValueError for NaN and Inf."""
    return json_text(to_json(record)).encode()


def json_schema(record_type: type[RecordType]) -> JsonObject:
    """Return the JSON Schema (draft 2020-12) of a record as it stands in a file."""
    return schema_by(_adapter(record_type))


def schema_by(adapter: TypeAdapter[RecordType]) -> JsonObject:
    """Return the JSON Schema of what an adapter reads, as `json_schema` does."""
    schema: dict[str, JsonValue] = adapter.json_schema(
        by_alias=True, mode="serialization", schema_generator=_SchemaWithoutFieldTitles
    )
    return {"$schema": _SchemaWithoutFieldTitles.schema_dialect, **schema}


class _SchemaWithoutFieldTitles(GenerateJsonSchema):
    """Leaves out the titles that pydantic makes of keys: "Images Per S" for images_per_s."""

    def field_title_should_be_set(self, schema: object) -> bool:
        return False


def _adapter(record_type: type[RecordType]) -> TypeAdapter[RecordType]:
    return _made_once(record_type)  # type: ignore[arg-type]  # mypy asks instances for their hash


@functools.cache
def _made_once(record_type: type[RecordType]) -> TypeAdapter[RecordType]:
    return TypeAdapter(record_type)


def _sentence(error: ValidationError) -> str:
    """Say the first fault: the key that it is at, and what is wrong there."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    message = first["msg"][0].lower() + first["msg"][1:]
    return f"{place}: {message}" if place else message
