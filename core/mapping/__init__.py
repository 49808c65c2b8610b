"""Mappings as data: a YAML file per record, system and direction, checked, compiled once, and run."""

from core.mapping.book import BrokenBook, Failure, Mapping, MappingBook, Problem, inspect_book, load_book

__all__ = ["BrokenBook", "Failure", "Mapping", "MappingBook", "Problem", "inspect_book", "load_book"]
