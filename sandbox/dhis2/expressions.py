"""The expressions of indicators: ``if(isNotNull(#{x}),1-#{x},0)/#{y.z}``."""

import re
from collections.abc import Callable
from typing import NamedTuple

_TOKEN = re.compile(
    r"\s*(?:(?P<operand>#\{(?P<what>[^}]+)\}(?:\.periodOffset\((?P<offset>[+-]?\d+)\))?)"
    r"|(?P<number>\d+(?:\.\d+)?)"
    r"|(?P<name>[A-Za-z]+)"
    r"|(?P<sign>==|!=|<=|>=|&&|\|\||[-+*/(),<>]))"
)


class Operand(NamedTuple):
    """What a ``#{…}`` means: a data element, or one with an option combo, in a period so many later (or earlier)."""

    what: str
    offset: int = 0


class BadExpressionError(ValueError):
    """An expression that cannot be read."""


type Look = Callable[[Operand], float | None]
"""Finds the value of an operand; ``None`` is none."""


def operands_of(expression: str) -> list[Operand]:
    """Return what an expression needs."""
    return [_operand(match) for match in _TOKEN.finditer(expression) if match["operand"]]


def evaluate(expression: str, look: Look) -> float:
    """Work an expression out; what has no value counts as 0, as for DHIS2's indicators.

    Raises
    ------
    BadExpressionError
        It cannot be read. DHIS2 takes such an indicator, and its charts show nothing.
    """
    reader = _Reader(expression, look)
    value = reader.either()
    reader.expect_end()
    return value or 0.0


def _operand(match: re.Match[str]) -> Operand:
    return Operand(match["what"], int(match["offset"] or 0))


class _Reader:
    """Reads an expression from left to right, and works it out on the way."""

    def __init__(self, text: str, look: Look) -> None:
        self._tokens = self._split(text)
        self._place = 0
        self._look = look

    @staticmethod
    def _split(text: str) -> list[re.Match[str]]:
        tokens, place = [], 0
        text = text.strip()
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None:
                raise BadExpressionError(text)
            tokens.append(match)
            place = match.end()
        return tokens

    def _next_is(self, *signs: str) -> str | None:
        """Take the next token if it is one of these."""
        if self._place < len(self._tokens) and (sign := self._tokens[self._place]["sign"]) in signs:
            self._place += 1
            return sign
        return None

    def _expect(self, sign: str) -> None:
        if self._next_is(sign) is None:
            raise BadExpressionError(f"{sign} is missing")

    def expect_end(self) -> None:
        """Insist that all is read."""
        if self._place < len(self._tokens):
            raise BadExpressionError(self._tokens[self._place].group())

    def either(self) -> float | None:
        """Read conditions with ``&&`` and ``||`` between them, from left to right."""
        value = self._comparison()
        while sign := self._next_is("&&", "||"):
            other = self._comparison()
            value = float(bool(value) and bool(other)) if sign == "&&" else float(bool(value) or bool(other))
        return value

    def _comparison(self) -> float | None:
        value = self._sum()
        if sign := self._next_is("==", "!=", "<=", ">=", "<", ">"):
            left, right = value or 0.0, self._sum() or 0.0
            value = float(
                {
                    "==": left == right,
                    "!=": left != right,
                    "<=": left <= right,
                    ">=": left >= right,
                    "<": left < right,
                    ">": left > right,
                }[sign]
            )
        return value

    def _sum(self) -> float | None:
        value = self._product()
        while sign := self._next_is("+", "-"):
            other = self._product() or 0.0
            value = (value or 0.0) + (other if sign == "+" else -other)
        return value

    def _product(self) -> float | None:
        value = self._factor()
        while sign := self._next_is("*", "/"):
            other = self._factor() or 0.0
            divided = (value or 0.0) / other if other else None
            value = (value or 0.0) * other if sign == "*" else divided
        return value

    def _factor(self) -> float | None:
        if self._next_is("-"):
            return -(self._factor() or 0.0)
        if self._next_is("("):
            value = self.either()
            self._expect(")")
            return value
        if self._place >= len(self._tokens):
            raise BadExpressionError("something is missing at the end")
        token = self._tokens[self._place]
        self._place += 1
        if token["operand"]:
            return self._look(_operand(token))
        if token["number"]:
            return float(token["number"])
        if token["name"]:
            return self._function(token["name"])
        raise BadExpressionError(token.group())

    def _function(self, name: str) -> float | None:
        self._expect("(")
        arguments = [self.either()]
        while self._next_is(","):
            arguments.append(self.either())
        self._expect(")")
        match name, arguments:
            case "if", [condition, yes, no]:
                return yes if condition else no
            case "isNotNull", [value]:
                return float(value is not None)
        raise BadExpressionError(f"{name} with {len(arguments)} arguments")
