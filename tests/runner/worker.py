"""The runner's worker: ``python -m tests.runner.worker``, as the runner's user, a process of its own.

One JSON message on standard input, as the server sends one; JSON lines on standard output. Like Runner.Worker it holds the
message, and so every secret of the job, in its memory; and it is the parent of every step's process.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.runner.commands import CommandError, CommandFiles, parse_line
from tests.runner.expressions import ExpressionError, Status, as_text, condition, evaluate, interpolate, is_true
from tests.runner.job import Action, Step, read_action, read_job
from tests.runner.processes import end_orphans, processes, run_step

_SHELLS = {
    None: ["bash", "-e", "{0}"],  # "bash -e" when the workflow says nothing
    "bash": ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "{0}"],
    "sh": ["sh", "-e", "{0}"],
    "python": ["python", "{0}"],
}
_PR_SET_NAME = 15
COMPLETION = 0.5  # seconds; the real one uploads its logs and tells the service over the network how the job ended, and more


def emit(kind: str, **values: Any) -> None:
    sys.stdout.write(json.dumps({"type": kind, **values}) + "\n")
    sys.stdout.flush()


class Worker:
    def __init__(self, message: dict[str, Any]) -> None:
        self.message = message
        work = Path(message["work"])
        self.temp, self.actions_directory = work / "_temp", work / "_actions"
        self.workspace = Path(message["github"]["workspace"])
        self.job = read_job(self.workspace / message["workflow"], message["job"])
        self.secrets = {"GITHUB_TOKEN": message["token"], **message["secrets"]}
        self.masks = {value for value in [*self.secrets.values(), message["runtime_token"]] if value}
        self.github = {**message["github"], "job": self.job.name, "workflow": self.job.workflow, "token": message["token"]}
        self.global_env: dict[str, str] = {}
        self.path: list[str] = []
        self.status = Status()
        self.results: dict[str, dict[str, Any]] = {}  # the steps context
        self.states: dict[str, dict[str, str]] = {}
        self.posts: list[tuple[Step, Action]] = []
        self.registered: set[str] = set()
        self.tracking = f"github_{uuid.uuid4()}"

    # --- the job --------------------------------------------------------------------------------------------------

    def run(self) -> None:
        before = processes()
        actions = self._set_up()
        for step in self.job.steps:
            action = actions.get(step.key)
            if action and not action.is_local and "pre" in action.runs:
                self._stage(step, action, "pre")
        for step in self.job.steps:
            self._stage(step, actions.get(step.key), "main")
        while self.posts:
            step, action = self.posts.pop()
            self._stage(step, action, "post")
        outputs = {key: self._text(value) for key, value in self.job.outputs.items()}
        for line in end_orphans(before, self.tracking):
            self._log(line)
        time.sleep(COMPLETION)
        emit("job", conclusion="failure" if self.status.failed else "success", outputs=outputs)

    def _set_up(self) -> dict[str, Action]:
        """Download the actions and write the event; the environment of the job."""
        shutil.rmtree(self.actions_directory, ignore_errors=True)
        self.actions_directory.mkdir()
        (self.temp / "_github_workflow").mkdir(exist_ok=True)
        event = self.temp / "_github_workflow/event.json"
        event.write_text(json.dumps(self.message["event"]))
        self.github["event_path"] = str(event)
        for key, value in self.job.env.items():
            self.global_env[key] = self._text(value)
        found = {}
        for step in self.job.steps:
            if step.uses and not step.uses.startswith("./"):
                name, _, ref = step.uses.partition("@")
                owner, repository, *part = name.split("/")
                target = self.actions_directory / owner / repository / ref
                if not target.exists():
                    shutil.copytree(self.message["actions"][f"{owner}/{repository}@{ref}"], target, symlinks=True)
                found[step.key] = read_action(target.joinpath(*part), f"{owner}/{repository}", ref)
        return found

    # --- one stage of one step ------------------------------------------------------------------------------------

    def _stage(self, step: Step, action: Action | None, stage: str) -> None:
        self.github.update(action=step.key, action_repository="", action_ref="")
        env = {**self.global_env, **{key: self._text(value) for key, value in step.env.items()}}
        expression = {"pre": (action.runs.get("pre-if") if action else "") or "always()", "main": step.condition}
        expression["post"] = (action.runs.get("post-if") if action else "") or "always()"
        outcome, code = "skipped", None
        name = step.name if stage == "main" else f"{stage.capitalize()} {step.name}"
        emit("started", key=step.key, name=name, stage=stage)
        try:
            if condition(expression[stage], self._contexts(env), self.status):
                files = CommandFiles(self.temp)
                code = self._execute(step, action, stage, env, files)
                outcome = "success" if code == 0 else "failure"
                outcome = self._process(step, stage, files, outcome)
        except (ExpressionError, OSError, NotImplementedError, CommandError) as problem:
            self._log(f"##[error]{problem}")
            outcome = "failure"
        forgiven = outcome == "failure" and is_true(evaluate(self._text(step.continue_on_error) or "false", {}))
        conclusion = "success" if forgiven else outcome
        self.status.failed |= conclusion == "failure"
        if stage == "main" and step.id:
            self.results.setdefault(step.id, {"outputs": {}}).update(outcome=outcome, conclusion=conclusion)
        emit("finished", key=step.key, name=name, stage=stage, outcome=outcome, conclusion=conclusion, code=code)

    def _execute(self, step: Step, action: Action | None, stage: str, env: dict[str, str], files: CommandFiles) -> int:
        if step.script is not None:
            command, more, directory = self._script(step, env)
        else:
            if action is None:  # a local one is read when it is started: an earlier step may have brought it
                action = read_action(self.workspace / step.uses, None, None)
                if "pre" in action.runs:
                    self._log(f"##[warning]`pre` execution is not supported for local action from '{step.uses}'")
            if stage != "post" and "post" in action.runs and step.key not in self.registered:
                self.registered.add(step.key)
                self.posts.append((step, action))
            self.github.update(action_repository=action.name or "", action_ref=action.ref or "")
            command = [self.message["node"], str(action.directory / action.runs[stage])]
            more, directory = self._of_action(step, action, env), str(self.workspace)
        # Later ones win, as in the runner: nothing that a step exports replaces what the runner itself sets.
        whole = {**os.environ, "CI": "true", **env, **more, **self._of_runner(), **files.variables()}
        whole["PATH"] = self._search_path(env)
        self.stopped: str | None = None
        return run_step(command, whole, directory, step.minutes * 60, lambda line: self._line(step, stage, line))

    def _script(self, step: Step, env: dict[str, str]) -> tuple[list[str], dict[str, str], str]:
        file = self.temp / f"{uuid.uuid4()}.{'py' if step.shell == 'python' else 'sh'}"
        file.write_text(interpolate(step.script or "", self._contexts(env)))
        shell = _SHELLS[step.shell] if step.shell in _SHELLS else str(step.shell).split()
        program = shutil.which(shell[0], path=self._search_path(env))
        if program is None:
            raise FileNotFoundError(f"{shell[0]}: command not found")
        directory = self.workspace / (self._text(step.directory, env) if step.directory else ".")
        command = [program, *(part.replace("{0}", str(file)) for part in shell[1:])]
        return command, self._identity(of_script=True), str(directory)

    def _of_action(self, step: Step, action: Action, env: dict[str, str]) -> dict[str, str]:
        contexts = self._contexts(env)
        given = {key.lower(): interpolate(as_text(value), contexts) for key, value in step.given.items()}
        for key, default in action.inputs.items():
            given.setdefault(key.lower(), interpolate(as_text(default), contexts))
        unexpected = sorted(set(given) - {key.lower() for key in action.inputs})
        if unexpected:
            self._log(f"##[warning]Unexpected input(s) {unexpected}, valid inputs are {sorted(action.inputs)}")
        inputs = {f"INPUT_{key.replace(' ', '_').upper()}": value for key, value in given.items()}
        states = {f"STATE_{key}": value for key, value in self.states.get(step.key, {}).items()}
        return {**states, **inputs, **self._identity(of_script=False)}

    def _identity(self, *, of_script: bool) -> dict[str, str]:
        """The job's own credentials: actions get the runtime's; scripts only what asks for identity tokens."""
        token, url = self.message["runtime_token"], self.message["results_url"]
        found = {}
        if not of_script:
            found |= {
                "ACTIONS_RUNTIME_TOKEN": token,
                "ACTIONS_RUNTIME_URL": url,
                "ACTIONS_RESULTS_URL": url,
                "ACTIONS_CACHE_URL": url,
            }
            found["ACTIONS_CACHE_SERVICE_V2"] = "True"
        if self.job.id_token:
            found |= {"ACTIONS_ID_TOKEN_REQUEST_TOKEN": token, "ACTIONS_ID_TOKEN_REQUEST_URL": f"{url}idtoken?api-version=2.0"}
        return found

    def _of_runner(self) -> dict[str, str]:
        github = {f"GITHUB_{key.upper()}": as_text(value) for key, value in self.github.items() if key != "token"}
        runner = {f"RUNNER_{key.upper()}": value for key, value in self.message["runner"].items()}
        return {**github, **runner, "GITHUB_ACTIONS": "true", "RUNNER_TRACKING_ID": self.tracking}

    def _search_path(self, env: dict[str, str]) -> str:
        return ":".join([*reversed(self.path), env.get("PATH", os.environ["PATH"])])

    # --- what it says ---------------------------------------------------------------------------------------------

    def _line(self, step: Step, stage: str, line: str) -> None:
        command = parse_line(line)
        if self.stopped is not None:
            if command and command[0] == self.stopped:
                self.stopped = None
        elif command and self._command(step, stage, *command):
            return
        self._log(line)

    def _command(self, step: Step, stage: str, name: str, properties: dict[str, str], value: str) -> bool:
        """Whether it is known. The ones that set variables and paths were switched off in 2020."""
        if name in ("error", "warning", "notice"):
            emit(
                "annotation",
                level=name,
                message=self._masked(value),
                title=properties.get("title", ""),
                key=step.key,
                stage=stage,
            )
            self._log(f"##[{name}]{value}")
        elif name == "add-mask":
            self.masks |= {line for line in [value, *value.splitlines()] if line.strip()}
        elif name == "stop-commands":
            self.stopped = value.lower()
        elif name in ("group", "endgroup", "debug", "echo"):
            self._log(f"##[{name}]{value}")
        else:
            return False
        return True

    def _process(self, step: Step, stage: str, files: CommandFiles, outcome: str) -> str:
        """Take in the command files. The runner drops outputs of pre and post: those stages have no name in the steps context."""
        try:
            self.path += files.paths()
            self.global_env |= files.read("env")
            if summary := files.summary():
                emit("summary", key=step.key, stage=stage, text=self._masked(summary))
            self.states.setdefault(step.key, {}).update(files.read("state"))
            outputs = files.read("output")
            if stage == "main" and step.id:
                self.results.setdefault(step.id, {"outputs": {}})["outputs"].update(outputs)
        except CommandError as problem:
            self._log(f"##[error]Unable to process file command successfully. {problem}")
            return "failure"
        return outcome

    def _log(self, line: str) -> None:
        emit("log", line=self._masked(line))

    def _masked(self, text: str) -> str:
        for mask in sorted(self.masks, key=len, reverse=True):
            text = text.replace(mask, "***")
        return text

    # --- expressions ----------------------------------------------------------------------------------------------

    def _contexts(self, env: dict[str, str] | None = None) -> dict[str, Any]:
        runner = self.message["runner"]
        job = {"status": "failure" if self.status.failed else "success"}
        return {
            "github": self.github,
            "env": env or self.global_env,
            "secrets": self.secrets,
            "vars": self.message["variables"],
            "steps": self.results,
            "runner": runner,
            "job": job,
        }

    def _text(self, value: Any, env: dict[str, str] | None = None) -> str:
        return interpolate(as_text(value), self._contexts(env))


def main(take: Callable[[], str] = sys.stdin.read) -> None:
    with contextlib.suppress(OSError):
        ctypes.CDLL(None).prctl(_PR_SET_NAME, b"Runner.Worker", 0, 0, 0)
    Worker(json.loads(take())).run()


if __name__ == "__main__":
    main()
