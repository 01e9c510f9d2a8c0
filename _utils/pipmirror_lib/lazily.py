"""Values that are made when somebody asks for them, and may take minutes to make."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class made_once(Generic[T]):
    """functools.cached_property, but with a lock for each object.

    Until Python 3.12 that one locks for all objects of a class: platforms would wait for each other's images.
    Threads that ask for the same value wait for whoever asked first; what fails is tried again by the next.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> made_once[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> made_once[T] | T:
        if instance is None:
            return self
        lock: threading.RLock = instance.__dict__.setdefault(f"_making_{self._name}", threading.RLock())
        with lock:
            if self._name not in instance.__dict__:
                instance.__dict__[self._name] = self._make(instance)
        value: T = instance.__dict__[self._name]
        return value
