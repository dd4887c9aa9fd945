"""What two URLs of one page share."""

from finetrail.web.fetch import FetchFailed, parse_url


def place_of_url(url: str) -> str:
    """Return what two URLs of one page share: the URL without its fragment; as it is where it is none."""
    try:
        return str(parse_url(url))
    except FetchFailed:
        return url
