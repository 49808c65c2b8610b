"""Mappings as data: a YAML file per record, system and direction, checked, compiled once, and run."""

from core.mapping.book import BrokenBook, Mapping, MappingBook, Problem, inspect_book, load_book
from core.mapping.examples import Failure

__all__ = ["BrokenBook", "Failure", "Mapping", "MappingBook", "Problem", "inspect_book", "load_book"]
