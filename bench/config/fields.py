"""What sections are made of: a base that refuses unknown keys, and kinds of values with checks."""

from typing import Annotated

from pydantic import ConfigDict, Field

PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
FractionBelowOne = Annotated[float, Field(ge=0, lt=1)]
PositiveFraction = Annotated[float, Field(gt=0, le=1)]
OpenFraction = Annotated[float, Field(gt=0, lt=1)]
Accuracy = OpenFraction
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# Names become directories, so none is hidden and none is `..`.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]


class Section:
    """The base of every section: an unknown key is refused.

    A section is a frozen dataclass. No field has a default: defaults stand in configs/base.yaml.
    The text below a field is its meaning; base.yaml repeats it beside the default.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
