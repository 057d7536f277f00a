"""What one row of the matrix asked for and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Record:
    """What one row of the matrix asked for, what was measured, and every way in which it failed."""

    row: str
    fault: str
    bound: str
    measured: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def measure(self, what: str, value: float, *, at_most: float, unit: str = "s") -> None:
        """Note a figure and check its bound."""
        self.measured.append(f"{what} {value:.3g} {unit}".strip())
        if not value <= at_most:
            self.failures.append(f"{what}: {value:.3g} {unit}, at most {at_most:g} allowed")

    def require(self, truth: bool, otherwise: str) -> None:
        """Note ``otherwise`` as a failure unless it is true."""
        if not truth:
            self.failures.append(otherwise)

    def note(self, what: str) -> None:
        """Note a figure that has no bound."""
        self.measured.append(what)

    def as_json(self) -> dict[str, Any]:
        """Plain values for the results file."""
        return {
            "row": self.row, "fault": self.fault, "bound": self.bound,
            "measured": "; ".join(self.measured) or "-", "pass": not self.failures,
            "failures": self.failures,
        }  # fmt: skip
