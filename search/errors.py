"""What can be wrong with a search, and what is left out of the words that say so."""

from datasets.errors import without_password

__all__ = ["ConfigError", "SearchError", "without_password"]


class SearchError(ValueError):
    """The search can't go on; the message is one line that says what to change."""


class ConfigError(SearchError):
    """The words of the command line, or a setting in them, can't be taken."""
