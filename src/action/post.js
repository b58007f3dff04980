// @ts-check
// After all other steps: ask the guard for its verdict, and end with its code. This process may have been prepared by a
// hostile step, so nothing that it cannot verify passes: it fails. The guard goes on guarding afterwards.

import { reportDirectory } from "./arm.js";
import { BROKEN, Refusal } from "./errors.js";
import { isRootOwned } from "./ownership.js";
import { poisoned } from "./poison.js";
import { run } from "./programs.js";
import { stage } from "./runner.js";

/** From asking to knowing, at most. The runner would wait for hours. */
const SECONDS = 28;
/** Where `provision.py` puts environments; nothing else is started from here. */
const INTERPRETER = /^\/var\/lib\/ebbgate\/[0-9a-f]{64}\/bin\/python$/u;

const clock = setTimeout(() => process.exit(BROKEN), (SECONDS + 2) * 1000);
await stage(async () => {
  const { STATE_armed: armed, STATE_python: python = "", STATE_loading: loading = "" } = process.env;
  if (armed !== "1") {
    throw new Refusal(BROKEN, "Ebbgate was never armed in this job", "Its earlier step failed, or was skipped.", "See that step's log.");
  }
  const signs = poisoned(process.env, loading);
  if (signs.length > 0) {
    throw new Refusal(BROKEN, "Ebbgate's last step was tampered with", signs.join("\n"), "Find the step that sets these variables for later steps.");
  }
  if (!INTERPRETER.test(python) || !isRootOwned(python)) {
    throw new Refusal(BROKEN, "Ebbgate's program is not where it was, or others than root can change it", python);
  }
  const files = {
    "--summary": process.env["GITHUB_STEP_SUMMARY"],
    "--output": process.env["GITHUB_OUTPUT"],
    "--report": reportDirectory(process.env),
  };
  const options = Object.entries(files).flatMap(([name, path]) => (path ? [name, path] : []));
  const command = /** @type {const} */ ([python, "-I", "-m", "ebbgate", "verdict", ...options, "--annotations"]);
  const ended = await run(command, { seconds: SECONDS, show: true });
  if (ended.code === 124) throw new Refusal(BROKEN, `The guard gave no verdict within ${SECONDS} seconds`);
  return ended.code;
});
clearTimeout(clock);
