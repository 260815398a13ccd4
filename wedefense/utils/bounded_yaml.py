"""YAML that comes from anywhere, read within bounds: of length, of depth, and of what aliases make of a few lines."""

import re

import yaml

from wedefense.utils.errors import InputError

_LONGEST = 1 << 20  # characters
_MOST = 5_000       # values, each alias counted as all that it stands for
_DEEPEST = 40       # of one in another


class Loader(yaml.SafeLoader):
    """SafeLoader that reads 1e-4 as a number, as people write it, and leaves dates as text.

    What would take for ever or more memory than there is, is an error of YAML like any other.
    """

    def __init__(self, text: str):
        if len(text) > _LONGEST:
            raise yaml.YAMLError(f"longer than {_LONGEST} characters, which no settings are")
        super().__init__(text)
        self._depth = self._count = 0
        self._counts: dict[int, int] = {}  # of the values that have been read whole

    def add_indent(self, column):
        self._bounded(len(self.indents))
        return super().add_indent(column)

    def fetch_flow_collection_start(self, TokenClass):
        self._bounded(self.flow_level)
        super().fetch_flow_collection_start(TokenClass)

    def compose_node(self, parent, index):
        alias, before = self.check_event(yaml.AliasEvent), self._count
        self._depth += 1
        self._bounded(self._depth)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if alias and id(node) not in self._counts:
            raise yaml.YAMLError("an alias stands within what it stands for")
        self._count += self._counts[id(node)] if alias else 1
        if self._count > _MOST:
            raise yaml.YAMLError(f"more than {_MOST} values, aliases counted as what they stand for")
        self._counts[id(node)] = self._count - before
        return node

    def construct_object(self, node, deep=False):
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
            raise yaml.constructor.ConstructorError(None, None, f"{node.tag.rpartition(':')[2]} cannot be read from "
                                                    f"this ({error})", node.start_mark) from None

    def _bounded(self, depth: int) -> None:
        if depth > _DEEPEST:
            raise yaml.YAMLError(f"nested more than {_DEEPEST} deep")


Loader.yaml_implicit_resolvers = {first: [(tag, pattern) for tag, pattern in rules if not tag.endswith(":timestamp")]
                                  for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()}
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789"))


def load_yaml(text: str, source: object):
    """The value in a text; what is no YAML is an error that names `source` and the line."""
    try:
        return yaml.load(text, Loader=Loader)
    except yaml.YAMLError as error:
        raise refused(error, source) from None


def refused(error: yaml.YAMLError, source: object) -> InputError:
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    problem = error.problem if isinstance(error, yaml.MarkedYAMLError) else str(error).splitlines()[0]
    return InputError(f"{source}{f':{mark.line + 1}' if mark else ''}: not valid YAML: {problem}")
