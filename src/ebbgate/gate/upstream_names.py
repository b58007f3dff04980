"""Asking the world for names without the machine's stub resolver, whose own questions would come back to the gate."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import dns.asyncresolver
import dns.exception
import dns.resolver

TIMEOUT = 8.0  # seconds in all, as long as a stub resolver's clients wait


def lookup(nameservers: tuple[str, ...], hosts: Mapping[str, tuple[str, ...]]) -> Callable[[str], tuple[str, ...]]:
    """A function from a canonical name to its addresses, IPv4 first; OSError when nobody answers. hosts come first."""
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = list(nameservers)

    def ask(name: str) -> tuple[str, ...]:
        if name in hosts:
            return hosts[name]
        found: list[str] = []
        try:
            for kind in ("A", "AAAA"):
                answer = resolver.resolve(name + ".", kind, raise_on_no_answer=False, lifetime=TIMEOUT)
                found += [one.to_text() for one in answer.rrset or ()]
        except dns.resolver.NXDOMAIN:
            return ()
        except dns.exception.DNSException as problem:
            if not found:
                raise OSError("no nameserver answers") from problem
        return tuple(dict.fromkeys(found))

    return ask


def async_resolver(nameservers: tuple[str, ...]) -> dns.asyncresolver.Resolver:
    """For record types other than addresses."""
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = list(nameservers)
    return resolver
