"""YAML text into a document: numbers are numbers, and each key keeps its line."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any, Final

import yaml
from yaml import MappingNode, Node, ScalarNode
from yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent

from .document import Document, Key, MachineError, dotted

# PyYAML reads YAML 1.1, where 1e9 is text, 010 is eight, 1:30 is ninety and `no` is false.
# Hardware files want numbers to be numbers, so that plain scalars are read as YAML 1.2 does.
_INTEGER: Final = re.compile(r"[-+]?[0-9]+(_[0-9]+)*")
_FRACTION: Final = re.compile(r"[0-9]+/[1-9][0-9]*")
_DECIMAL: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(_[0-9]+)*(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: Final[dict[str, bool | float | None]] = {
    "": None, "~": None, "null": None, "true": True, "false": False,
    ".inf": float("inf"), "-.inf": float("-inf"), ".nan": float("nan"),
}  # fmt: skip
_PLAIN_TAGS: Final = "tag:yaml.org,2002:"
_PROVENANCE: Final = ("source", "assumed")

_MAX_DEPTH: Final = 16
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def fill(document: Document, text: str) -> None:
    """Read YAML text into an empty document.

    Raises:
        MachineError: if the text is not YAML, holds no mapping, or says a key twice.
    """
    try:
        _guard(document, text)
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(error, "problem", None) or "a character YAML does not allow"
        raise MachineError(
            f"{document.file}:{line}: wanted YAML, got a syntax error: {problem}"
        ) from None
    if root is None:
        document.fail((), "wanted a mapping of keys to values, got an empty file")
    if not isinstance(root, MappingNode):
        document.fail((), f"wanted a mapping of keys to values, got {_noun(root)}")
    document.values.update(_Walk(document).mapping(root, (), None))


def _guard(document: Document, text: str) -> None:
    """Refuse what a machine never needs and a reader may never end on."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        line = event.start_mark.line + 1 if event.start_mark else 1
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        problem = ""
        if depth > _MAX_DEPTH:  # libyaml's composer overflows the stack on deep nesting
            problem = f"wanted at most {_MAX_DEPTH} levels of nesting, got more"
        elif isinstance(event, AliasEvent):  # recursive or exponential ones would never end
            problem = f"wanted the value written out, got the alias *{event.anchor}"
        if problem:
            raise MachineError(f"{document.file}:{line}: {problem}")


class _Walk:
    """One pass over the nodes of a file, filling its `Document`."""

    def __init__(self, document: Document) -> None:
        self.document = document

    def node(self, node: Node, key: Key, origin: str | None) -> Any:
        if not node.tag.startswith(_PLAIN_TAGS):
            self.document.fail(key, f"wanted plain YAML, got the tag {node.tag}")
        if isinstance(node, ScalarNode):
            value = _scalar(node)
            if isinstance(value, int | float | Fraction):
                if not isinstance(value, bool):
                    self.document.numbers.add(dotted(key))
                if origin:
                    self.document.sources[dotted(key)] = origin
            return value
        if isinstance(node, MappingNode):
            return self.mapping(node, key, origin)
        items: list[Any] = []
        for index, item in enumerate(node.value):
            self.document.lines[(*key, index)] = item.start_mark.line + 1
            items.append(self.node(item, (*key, index), origin))
        return tuple(items)

    def mapping(self, node: MappingNode, key: Key, origin: str | None) -> Any:
        document = self.document
        children: dict[str, Node] = {}
        for name_node, child in node.value:
            line = name_node.start_mark.line + 1
            if not isinstance(name_node, ScalarNode):
                document.lines[*key, "?"] = line
                document.fail((*key, "?"), f"wanted a name for a key, got {_noun(name_node)}")
            name = str(name_node.value)
            if name in children:
                first = document.lines[*key, name]
                document.lines[*key, name] = line
                document.fail((*key, name), f"duplicate key, first written on line {first}")
            document.lines[*key, name] = line
            children[name] = child
        origin = self.provenance(children, key) or origin
        if key and "value" in children:
            return self.cited(children, key, origin)
        return {name: self.node(child, (*key, name), origin) for name, child in children.items()}

    def provenance(self, children: dict[str, Node], key: Key) -> str | None:
        """Take `source` or `assumed` out of `children` and return what it says."""
        if not key:  # at the top it would cover everything, and so say nothing
            return None
        stated = [name for name in _PROVENANCE if name in children]
        if len(stated) > 1:
            self.document.fail((*key, stated[1]), "wanted source or assumed, got both")
        for name in stated:
            child = children.pop(name)
            text = _scalar(child) if isinstance(child, ScalarNode) else None
            if not isinstance(text, str) or not text.strip():
                self.document.fail((*key, name), f"wanted text that says so, got {_noun(child)}")
            return text if name == "source" else f"assumed: {text}"
        return None

    def cited(self, children: dict[str, Node], key: Key, origin: str | None) -> Any:
        for name in children:
            if name != "value":
                self.document.fail(
                    (*key, name), "unknown key beside `value`; wanted source or assumed"
                )
        child = children["value"]
        if not isinstance(child, ScalarNode):
            self.document.fail((*key, "value"), f"wanted a number, got {_noun(child)}")
        return self.node(child, key, origin)


def _scalar(node: ScalarNode) -> str | float | Fraction | None:
    text = str(node.value)
    if node.style:  # quoted, or a block of text
        return text
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INTEGER.fullmatch(text) and len(text) < 100:
        return int(text)
    if _FRACTION.fullmatch(text) and len(text) < 100:
        return Fraction(text)
    if not _DECIMAL.fullmatch(text):
        return text
    number = float(text)
    # 64e9 bytes is a whole number; 1.0 was written as a decimal and stays one.
    whole = "e" in text.lower() and number.is_integer() and abs(number) < 2**53
    return int(number) if whole else number


def _noun(node: Node) -> str:
    if isinstance(node, ScalarNode):
        return repr(_scalar(node)) if node.value else "nothing"
    return "a mapping" if isinstance(node, MappingNode) else "a list"
