"""What stands under one key of pillar and minion configuration, and what a call puts in its place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from pipmirror_lib import arguments as call
from pipmirror_lib.errors import SettingsError
from pipmirror_lib.fields import Fields

T = TypeVar("T")
# Their keys are merged one by one.
GROUPS = ("index", "container", "files")


class Declaration:
    """Argument > pillar > minion configuration; the faults of the arguments are told apart from the others.

    The merge is ours because `config.get` would put the minion configuration before the pillar. A pillar that did not
    render (`_errors`) is never acted upon: a half-rendered declaration looks like one that was shortened on purpose.
    """

    def __init__(
        self,
        key: str,
        layers: Sequence[object],
        arguments: Mapping[str, Any] | None,
        known: Sequence[str],
        pillar_errors: Sequence[str] = (),
        own: Sequence[str] = (),
    ) -> None:
        """`layers` from the minion's configuration to the pillar; `known` what an argument may be called, `own` what
        functions take beside that.
        """
        if pillar_errors:
            raise SettingsError((f"pillar: did not render: {error}" for error in pillar_errors), key)
        self.key = key
        self.faults: list[str] = []
        unknown = call.unknown(arguments or {}, known, own, key)
        self.given = {name: value for name, value in (arguments or {}).items() if name not in unknown}
        self._of_call = list(unknown.values())
        self.top = merged(*(Fields(layer, key, self.faults).values for layer in layers))

    def read(self, place: str, declared: Mapping[str, Any], make: Callable[[Fields], T]) -> T:
        """What `make` reads at that place, with the arguments above what is declared there."""
        reader = Fields(merged(declared, self.given), place, [])
        made = make(reader)
        declared_faults, call_faults = call.divided(reader.faults, self.given, place, GROUPS)
        self.faults += declared_faults
        self._of_call += call_faults
        return made

    def differs(self, declared: Mapping[str, Any], keys: Collection[str]) -> bool:
        """Whether the arguments say anything else for one of the keys."""
        return any((self.given[key] or None) != (declared.get(key) or None) for key in keys if key in self.given)

    def check(self) -> None:
        """SettingsError with every fault; what is read several times is told once."""
        if self.faults or self._of_call:
            raise SettingsError(dict.fromkeys(self.faults), self.key, arguments=dict.fromkeys(self._of_call))


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Later layers win, key by key; the grouped settings key by key within the group."""
    found: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            before: Any = found.get(key)
            group = key in GROUPS and isinstance(value, Mapping) and isinstance(before, Mapping)
            found[key] = {**before, **value} if group else value
    return found
