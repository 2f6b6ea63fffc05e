"""Read one value of a file as a contract's field has it: an id, a text, a number, a price, yes or no."""

from contextlib import suppress
from decimal import Decimal
from typing import Protocol

from jobs.errors import DataError
from jobs.files import ids, numbers
from jobs.files.times import Place, said

_BOOLS = {"true": True, "1": True, "false": False, "0": False}


class Field(Protocol):
    """A field of a contract, of events or of item facts."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def free_text(self) -> bool: ...
    @property
    def may_be_empty(self) -> bool: ...


def is_absent(raw: object) -> bool:
    """Return True for what stands for no value: null, no text, or NaN, which is how pandas says None."""
    return raw is None or raw != raw or raw == ""


def value(about: Place, field: Field, raw: object, factor: int | float, currency: object) -> object:
    """Return the value of a field, None where it names nothing; raise DataError for what can't be one.

    `factor` is what the column's numbers are multiplied with; of prices `currency` says how many digits they have.
    """
    if field.kind == "bool":
        return _bool(about, raw)
    if field.kind != "string":
        return _number(about, field, raw, factor, currency)
    found = raw if type(raw) is str else _text(about, raw)
    if field.free_text:
        return found
    if ids.is_plain(found):
        return found
    if field.may_be_empty and not found.strip():
        return ""
    found = ids.cleaned(found)
    if not found:
        return None
    if flaw := ids.flaw(found):
        raise DataError(f"{said(about)} is {found!a:.80}, {flaw.what}", flaw.fix)
    return found.upper() if field.name == "currency" else found


def _bool(about: Place, raw: object) -> bool:
    found = _BOOLS.get(str(raw).strip().lower())
    if found is None:
        raise DataError(f"{said(about)} is {raw!r:.80}, neither true nor false", "write true or false, or 1 or 0")
    return found


def _number(about: Place, field: Field, raw: object, factor: int | float, currency: object) -> int | float:
    is_whole = field.kind == "int"
    by = numbers.minor_factor(factor, currency) if field.name == "price_minor" else factor
    if type(raw) is int and type(by) is int and is_whole:
        return raw * by
    exact = numbers.number(raw)
    if exact is not None:
        exact *= Decimal(str(by))
        if not is_whole:
            return float(exact)
        if factor != 1 or exact == exact.to_integral_value():
            return numbers.rounded(exact)
    raise DataError(f"{said(about)} is {raw!r}, not {'a whole number' if is_whole else 'a number'}", numbers.fix(raw))


def _text(about: Place, raw: object) -> str:
    if type(raw) is int or (isinstance(raw, Decimal) and raw == raw.to_integral_value()):
        return str(int(raw))
    if isinstance(raw, bytes):  # Parquet of programs that don't say which of their bytes are text
        with suppress(UnicodeDecodeError):
            return raw.decode()
    fix = "write an id as text or a whole number: as a fraction it has lost digits, or won a .0"
    raise DataError(f"{said(about)} is {raw!r:.80}, not text", fix if isinstance(raw, float) else ids.ONE_VALUE)
