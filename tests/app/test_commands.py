"""Every command that ``tieout --help`` leads to is run by some test."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from typer.main import get_command

from app import cli
from tests.app.test_cli_documents import block
from tests.app.test_pages import commands

#: Run as processes of their own by the tests of the demo.
PROCESSES = {("demo",), ("sandbox",), ("serve",)}
#: Pages all of whose commands are run by a test.
PAGES = ("close", "cash", "tie-out", "operations")
#: What runs a command in the tests of the command line.
CALLS = {"tieout", "run"}

Words = tuple[str, ...]


def test_every_command_is_run_by_a_test() -> None:
    """By a call in tests/app that begins with its words, or on a page whose commands are run."""
    lines = [*block(), *(line for page in PAGES for line in commands(page))]
    told = [*called(), *(tuple(shlex.split(line)[1:]) for line in lines)]
    untested = {path for path in tree(get_command(cli.app)) if not any(one[: len(path)] == path for one in told)}
    assert untested == PROCESSES


def tree(command: Any, path: Words = ()) -> Iterator[Words]:
    """The words of every command below one."""
    if not hasattr(command, "commands"):
        yield path
        return
    for name, below in command.commands.items():
        yield from tree(below, (*path, name))


def called() -> Iterator[Words]:
    """The words, as far as they are written out, with which the tests beside this one call the command line."""
    for file in Path(__file__).parent.glob("test_*.py"):
        nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
        group = [name for node in nodes for name in group_of(node)]
        for node in nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
                yield (*group, *written_out(node.args))


def group_of(node: ast.AST) -> list[str]:
    """The name of the group of commands that ``from app.cli_mappings import app`` brings."""
    if not (isinstance(node, ast.ImportFrom) and node.module and [one.name for one in node.names] == ["app"]):
        return []
    brought = import_module(node.module).app
    return [one.name for one in cli.app.registered_groups if one.typer_instance is brought and one.name]


def written_out(arguments: list[ast.expr]) -> Iterator[str]:
    for one in arguments:
        if not (isinstance(one, ast.Constant) and isinstance(one.value, str)):
            return
        yield one.value
