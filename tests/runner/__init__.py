"""A simulator of GitHub's runner: it runs one job of a real workflow file the documented way, in a runner machine.

What it takes over from the runner (actions/runner, Runner.Worker): the order pre, main, post; one set of command files for each
step; the variables of each kind of step and which of them win; states, outputs, masks, annotations and summaries; conditions
and the job's result; the end of orphaned processes. Not there: containers, composite actions, matrices, services.
"""

from tests.runner.driver import JobResult, Runner, StepResult

__all__ = ["JobResult", "Runner", "StepResult"]
