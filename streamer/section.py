"""What every section of a configuration is made of."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Section(BaseModel):
    """Part of a configuration: unknown keys are refused, and no message repeats a value."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse ``every: true``, which would be taken for 1."""
        if isinstance(value, bool) and info.field_name is not None:
            takes = _types(cls.model_fields[info.field_name].annotation)
            if takes & {int, float} and bool not in takes:
                raise ValueError(f"must be a number, not {str(value).lower()}")
        return value


def _types(annotation: Any) -> set[Any]:
    """The types that an annotation is put together from."""
    return {annotation}.union(*(_types(each) for each in get_args(annotation)))
