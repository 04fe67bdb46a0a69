"""What can be wrong with a search, and what is left out of the words that say so."""

import re

__all__ = ["ConfigError", "SearchError", "without_password"]


class SearchError(ValueError):
    """The search can't go on; the message is one line that says what to change."""


class ConfigError(SearchError):
    """The words of the command line, or a setting in them, can't be taken."""


def without_password(text: str) -> str:
    """The text with the user and password of every address in it left out, also where they hold a / or an @."""
    without = re.sub(r"://[^/@\s:]*(:[^@\s]*)?@([^/@\s]*@)*", "://...@", text)
    return re.sub(r"([?&](?:ssl)?password=)[^&\s]+", r"\1...", without)
