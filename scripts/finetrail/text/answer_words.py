"""The words of a short answer that count when it is compared.

Source: Rajpurkar et al. 2016 (arXiv:1606.05250), section 6.1: case, punctuation and articles do not count.
"""

import re
import string

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(a|an|the)\b")


def normal(answer: str) -> list[str]:
    """Return the words of an answer that count."""
    return _ARTICLE.sub(" ", answer.lower().translate(_PUNCTUATION)).split()
