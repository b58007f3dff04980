"""The public suffix list, read once when first needed."""

from __future__ import annotations

from functools import cache

from publicsuffixlist import PublicSuffixList


@cache
def public_suffix_list() -> PublicSuffixList:
    """The packaged list, private section included: anyone may have a name below ``github.io``."""
    return PublicSuffixList()


@cache
def registry_suffix_list() -> PublicSuffixList:
    """The same without the private section: suffixes of registries alone."""
    return PublicSuffixList(only_icann=True)
