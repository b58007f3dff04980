// @ts-check
// Arming, by `pre` where the runner calls it and by `main` where it does not (actions from `./`).
//
//   this step ──JSON on standard input──▶ sudo ▶ python -I -m ebbgate start --stdin ──▶ the guard, which stays
//      ▲                                          │
//      └──JSON on standard output: variables for later steps, warnings ◀── armed, and proven
//
// Secrets take that one way. They are in no argument, no child's environment, no saved state and no line of the log.

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

import { ranBefore } from "./before.js";
import { BROKEN, Refusal } from "./errors.js";
import { given } from "./inputs.js";
import { refuseUnsupported } from "./machine.js";
import { fingerprint } from "./poison.js";
import { fetchPolicy } from "./policy.js";
import { answer, requireRoot, runAsRoot } from "./programs.js";
import { environmentFor } from "./python.js";
import { say, tell, warn } from "./runner.js";

export const ACTION_PATH = dirname(dirname(import.meta.dirname));
const START_SECONDS = 60;

/**
 * @param {NodeJS.ProcessEnv} environment
 * @returns {string} the directory in which the report will be
 */
export function reportDirectory(environment) {
  return environment["INPUT_REPORT-ARTIFACT"] || join(environment["RUNNER_TEMP"] ?? "/tmp", "ebbgate-report");
}

/**
 * @param {NodeJS.ProcessEnv} environment
 * @returns {Promise<string>} the interpreter that the guard was started with
 */
export async function arm(environment) {
  refuseUnsupported(environment);
  await requireRoot();
  const { inputs, secrets, context, warnings } = given(environment);
  const path = inputs["policy-file"] ?? "";
  const policy = path ? await fetchPolicy(path, secrets["GITHUB_TOKEN"] ?? "", environment) : null;
  if (policy?.notice) say(`Ebbgate: ${policy.notice}`);
  warnings.push(...(await ranBefore(environment, ACTION_PATH)));
  const { python, from } = await environmentFor(ACTION_PATH, environment);
  const document = {
    inputs,
    secrets,
    github: context,
    policy: policy && { path: policy.path, text: policy.text, commit: policy.commit, repository: policy.repository },
    runner: { pid: process.ppid, uid: process.getuid?.() ?? -1, action_path: ACTION_PATH, post: "src/action/post.js" },
    warnings,
  };
  const started = await start(python, document);
  tell("GITHUB_ENV", started.environment);
  tell("GITHUB_STATE", { armed: "1", python, loading: fingerprint(environment) });
  warn([...warnings, ...started.warnings]);
  say(`Ebbgate is armed (${started.mode}, ${started.seconds} s; environment: ${from}). Every later step of this job is guarded.`);
  return python;
}

/**
 * @param {string} python
 * @param {object} document
 * @returns {Promise<{ environment: Record<string, string>, warnings: string[], mode: string, seconds: number }>}
 */
async function start(python, document) {
  const command = [python, "-I", "-m", "ebbgate", "start", "--stdin"];
  const ended = await runAsRoot(command, { seconds: START_SECONDS, input: JSON.stringify(document) });
  if (ended.code !== 0) {
    const cause = ended.code === 137 || ended.code === 124 ? `It took longer than ${START_SECONDS} seconds.` : "";
    throw new Refusal(ended.code, "Ebbgate was not armed", `${cause}\n${ended.stderr.trim().slice(-3000)}`.trim());
  }
  if (ended.stderr.trim()) say(ended.stderr.trimEnd());
  const { armed, environment, warnings, mode, seconds } = answer("ebbgate start", ended);
  const values = Object.entries(environment && typeof environment === "object" ? environment : {});
  if (armed !== true || !environment || values.some(([, value]) => typeof value !== "string")) {
    throw new Refusal(BROKEN, "Ebbgate did not say that it is armed", ended.stderr.trim().slice(-3000));
  }
  return {
    environment: Object.fromEntries(values),
    warnings: Array.isArray(warnings) ? warnings.map(String) : [],
    mode: String(mode),
    seconds: Number(seconds),
  };
}

/** @returns {string} what this version calls itself, for the log */
export function version() {
  const text = readFileSync(join(ACTION_PATH, "src/ebbgate/__init__.py"), "utf8");
  return /__version__ = "([^"]+)"/u.exec(text)?.[1] ?? "?";
}
