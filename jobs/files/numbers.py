"""Read numbers and prices as other systems write them, exactly; what may mean two things is refused."""

import re
from decimal import ROUND_HALF_UP, Decimal

# Not Decimal's own grammar, which takes 1_000 and the digits of other scripts.
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_LOCAL = re.compile(r"[+-]?\d{1,3}(?:[.,' \u00a0\u202f]?\d{3})*(?:[.,]\d+)?", re.ASCII)
LARGEST = Decimal(10) ** 20  # a time in nanoseconds has 19 digits

# Digits after the point by ISO 4217, as Java 21's Currency has them; all other currencies have 2.
_DIGITS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF",
}
DIGITS = {currency: digits for digits, currencies in _DIGITS.items() for currency in currencies.split()}
MAJOR_UNITS = 100  # the factor that says "prices are in whole units with a fraction"


def number(raw: object) -> Decimal | None:
    """Return a finite number, from text too, or None for anything else."""
    if type(raw) is str and _NUMBER.fullmatch(raw.strip()):
        found = Decimal(raw.strip())
    elif type(raw) in (int, float, Decimal):
        found = Decimal(str(raw))
    else:
        return None
    return found if found.is_finite() and abs(found) < LARGEST else None


def rounded(exact: Decimal) -> int:
    """Return the nearest whole number, halves away from 0."""
    return int(exact.to_integral_value(ROUND_HALF_UP))


def minor_factor(factor: int | float, currency: object) -> int | float:
    """Return what a price is multiplied with: for whole units (factor 100) as many minor ones as the currency has."""
    if factor != MAJOR_UNITS or not isinstance(currency, str):
        return factor
    return 10 ** DIGITS.get(currency.strip().upper(), 2)


def fix(raw: object) -> str:
    """Return the way out for text that should have been a number."""
    if isinstance(raw, str) and _LOCAL.fullmatch(raw.strip()):
        return "write a decimal point and no separators: 1234.50"
    return "write digits with a decimal point, without a currency (1234.50), or leave it empty"
