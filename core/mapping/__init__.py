"""Mappings as data: a YAML file per record, system and direction, checked, compiled once, and run.

Read in this order: ``spec`` (the grammar of a file), ``shapes`` (the noun a file is checked against), ``compiler`` with
``converters`` and ``absence`` (from grammar to one function), ``values`` (one value across the border), ``book`` (a
folder of files, and what others call). Beside them stand ``drift`` (a file and the other system's fields as they are
now), ``scaffold`` (a file to start from) and ``merge`` (a record that both sides change). ``docs/mappings.md`` says how
a file is written.
"""

from core.mapping.book import BrokenBook, Mapping, MappingBook, Problem, inspect_book, load_book, load_file
from core.mapping.examples import Failure

__all__ = ["BrokenBook", "Failure", "Mapping", "MappingBook", "Problem", "inspect_book", "load_book", "load_file"]
