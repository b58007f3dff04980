"""GitHub Actions: from the document that the action sends on standard input to a ``JobRequest``.

Everything is judged before anything is changed: unknown and contradictory inputs, unknown values, the policy.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any  # the document: its shape is what this module checks

from ebbgate import __version__
from ebbgate.errors import PolicyError
from ebbgate.events.publish import printable
from ebbgate.events.types import RunStarted
from ebbgate.policy.load import load_texts
from ebbgate.policy.model import Policy
from ebbgate.policy.placeholders import context_of
from ebbgate.policy.presets import RUNNER_PRESET
from ebbgate.secrets.canaries import new_canaries
from ebbgate.secrets.known import public_values, secrets_from
from ebbgate.secrets.prints import prints_of
from ebbgate.secrets.secret import Secret
from ebbgate.secrets.structured import with_inner
from ebbgate.warden.job_request import JobRequest, Locks, Runner, Target
from ebbgate.warden.registered import registered
from ebbgate.warden.vault import fill

MAX_DOCUMENT = 8 << 20  # bytes; the largest part is an inline policy
_CHOICES: dict[str, tuple[str, ...]] = {
    "mode": ("", "audit", "enforce"),
    "egress-policy": ("", "audit", "block"),
    "on-blocked": ("fail", "warn"),
    "on-exfiltration": ("kill", "fail", "warn"),
    "sudo": ("keep", "remove"),
    "containers": ("keep", "close"),
    "protect-memory": ("true", "false"),
    "canary": ("", "true", "false"),
}
_DEFAULTS = {"on-blocked": "fail", "on-exfiltration": "kill", "sudo": "keep", "containers": "keep", "protect-memory": "true"}
_TEXTS = ("policy", "policy-file", "use", "allow", "allowed-endpoints", "deny", "job", "report-artifact")
_ENDPOINT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\s]+)(?::(?P<port>[0-9]{1,5}))?\Z")
_SCHEMES = {"443": "", "80": "http://"}  # what is spoken on a port; anything else is carried unread


def job_request(text: bytes, target: Target) -> JobRequest:
    """The request that a document asks for. PolicyError for anything in it that its author can mend."""
    document = _document(text)
    inputs = _inputs(document)
    runner = _runner(document)
    policy = _policy(document, inputs)
    if inputs["canary"]:
        policy = replace(policy, canary=inputs["canary"] == "true")
    known, warnings = secrets_from(_mapping(document, "secrets"), list(_mapping(document, "secrets")), bound=[])
    canaries = new_canaries({}) if policy.canary else None
    known += canaries.secrets if canaries is not None else ()
    bound = {binding.name for binding in policy.bindings}
    absent = sorted(bound - {one.name for one in known})
    warnings = _half_locks(inputs) + warnings
    warnings = [f"the policy binds {name}, but it was not given as EBBGATE_SECRET_{name}" for name in absent] + warnings
    salt = secrets.token_bytes(16)
    everything = with_inner(known, public_values(_mapping(document, "github")))
    return JobRequest(
        policy=policy,
        runner_policy=load_texts((), job="", use=(RUNNER_PRESET,), given_by=""),
        vault=fill(everything),
        prints=tuple(one for secret in everything for one in prints_of(secret, salt)),
        salt=salt,
        started=_started(document, policy, known, salt),
        runner=runner,
        locks=Locks(
            remove_sudo=inputs["sudo"] == "remove",
            close_containers=inputs["containers"] == "close",
            protect_memory=inputs["protect-memory"] == "true",
        ),
        target=target,
        context=_mapping(document, "github"),
        on_blocked=inputs["on-blocked"],
        on_exfiltration=inputs["on-exfiltration"],
        canaries=replace(canaries, secrets=()) if canaries is not None else None,
        warnings=(*(printable(str(one), 500) for one in document.get("warnings", ())), *warnings),
    )


def _document(text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        raise PolicyError("standard input is not a JSON document", "", "this command is for the action") from None
    if not isinstance(document, dict):
        raise PolicyError("standard input is not a JSON object", "", "this command is for the action")
    return document


def _mapping(document: Mapping[str, Any], name: str) -> dict[str, str]:
    value = document.get(name) or {}
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise PolicyError(f"{name} must be texts by name", "", "this command is for the action")
    return value


def _inputs(document: Mapping[str, Any]) -> dict[str, str]:
    """Every input with its value, checked one by one and against each other."""
    given = {name: value.strip() for name, value in _mapping(document, "inputs").items()}
    known = (*_CHOICES, *_TEXTS)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            raise PolicyError(
                f"unknown input {name!r}", "", f"did you mean {near[0]}?" if near else f"inputs: {', '.join(known)}"
            )
    inputs = {name: given.get(name) or _DEFAULTS.get(name, "") for name in known}
    for name, choices in _CHOICES.items():
        if inputs[name] not in choices:
            near = difflib.get_close_matches(inputs[name], choices, n=1, cutoff=0.4)
            wanted = " or ".join(one for one in choices if one)
            raise PolicyError(
                f"input {name}: unknown value {printable(inputs[name], 60)!r}",
                f"it is {wanted}",
                f"did you mean {near[0]}?" if near else f"write {wanted}",
            )
    _refuse_contradictions(inputs)
    return inputs


def _refuse_contradictions(inputs: Mapping[str, str]) -> None:
    if inputs["policy"] and inputs["policy-file"]:
        raise PolicyError("the inputs policy and policy-file contradict each other", "both give a policy", "give one of them")
    alias = {"audit": "audit", "block": "enforce"}.get(inputs["egress-policy"])
    if alias and inputs["mode"] and alias != inputs["mode"]:
        raise PolicyError(
            "the inputs mode and egress-policy contradict each other",
            f"mode: {inputs['mode']}, egress-policy: {inputs['egress-policy']}",
            "leave egress-policy out",
        )


def _half_locks(inputs: Mapping[str, str]) -> list[str]:
    """Locks that lock nothing without another."""
    found: list[str] = []
    if inputs["sudo"] == "remove" and inputs["containers"] == "keep":
        found.append("sudo: remove with containers: keep is no lock: whoever may start a privileged container is root")
    if inputs["sudo"] == "keep" and inputs["containers"] == "close":
        found.append("containers: close with sudo: keep is no lock: root opens the sockets again")
    return found


def _runner(document: Mapping[str, Any]) -> Runner:
    found = document.get("runner")
    if not isinstance(found, dict) or not isinstance(found.get("pid"), int) or not isinstance(found.get("uid"), int):
        raise PolicyError("the document does not say who the runner is", "", "this command is for the action")
    pid, uid = found["pid"], found["uid"]
    if pid <= 1 or uid < 0 or not os.path.isdir(f"/proc/{pid}"):
        raise PolicyError(f"there is no process {pid} that could be the runner", "", "this command is for the action")
    return Runner(pid, uid, str(found.get("action_path", "")), str(found.get("post", "")))


def _policy(document: Mapping[str, Any], inputs: Mapping[str, str]) -> Policy:
    texts: list[tuple[str, str]] = []
    if inputs["policy"]:
        texts.append(("input policy", inputs["policy"]))
    fetched = document.get("policy")
    if isinstance(fetched, dict):
        texts.append((printable(str(fetched.get("path", "policy-file")), 200), str(fetched.get("text", ""))))
    elif inputs["policy-file"]:
        raise PolicyError("the policy-file was not read", "", "this command is for the action")
    mode = inputs["mode"] or {"audit": "audit", "block": "enforce"}.get(inputs["egress-policy"]) or None
    return load_texts(
        texts,
        job=inputs["job"],
        mode=mode,
        use=_words(inputs["use"]),
        allow=[*_words(inputs["allow"]), *(_endpoint(one) for one in _words(inputs["allowed-endpoints"]))],
        deny=_words(inputs["deny"]),
        given_by="input ",
        context=context_of(_mapping(document, "github")),
    )


def _words(text: str) -> list[str]:
    """Words of a list input: separated by white space or commas; what follows a ``#`` on its line is a comment."""
    found: list[str] = []
    for line in text.splitlines():
        found += re.split(r"[\s,]+", re.sub(r"(^|\s)#.*", "", line).strip())
    return [one for one in found if one]


def _endpoint(text: str) -> str:
    """``host:port`` as Harden-Runner writes it, as ``allow`` does."""
    match = _ENDPOINT.match(text)
    if match is None:
        raise PolicyError(f"input allowed-endpoints: {printable(text, 100)!r} is no HOST:PORT", "", "write example.com:443")
    host, port = match["host"], match["port"] or "443"
    if port in _SCHEMES:
        return f"{_SCHEMES[port]}{host}"
    return f"tcp://{host}:{port}"


def _started(document: Mapping[str, Any], policy: Policy, known: list[Secret], salt: bytes) -> RunStarted:
    github = _mapping(document, "github")
    words = [github.get(name, "") for name in ("GITHUB_REPOSITORY", "GITHUB_WORKFLOW", "GITHUB_JOB")]
    return RunStarted(
        version=__version__,
        mode=policy.mode,
        command=printable(" / ".join(word for word in words if word), 500),
        policy=policy.sources,
        policy_digest=policy.digest,
        secrets=registered(known, salt, policy),
        time=time.time(),
        repository=printable(words[0], 200),
        ref=printable(github.get("GITHUB_REF_NAME", ""), 300),
        workflow=printable(words[1], 200),
        job=printable(words[2], 200),
    )
