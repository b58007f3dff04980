// @ts-check
// What ran in this job before Ebbgate did. None of it was guarded, and some of it may still run. These are signs, not proof:
// what leaves no trace is not found, and what is found may have been harmless. The operator's own job-started hook counts too.

import { readFileSync, readdirSync } from "node:fs";
import { request } from "node:http";
import { basename, dirname, join, relative } from "node:path";

const DOCKER_SOCKET = "/var/run/docker.sock";
const DOCKER_SECONDS = 2;
/** Most folders of other actions that are looked into. */
const MOST_FOLDERS = 2000;
/** Folders below an action's own, where actions such as owner/repository/part@ref lie. */
const DEEPEST = 3;

/**
 * @param {NodeJS.ProcessEnv} environment
 * @param {string} actionPath this action's folder
 * @returns {Promise<string[]>} warnings
 */
export async function ranBefore(environment, actionPath) {
  const warnings = [];
  const stages = earlierStages(environment);
  if (stages > 0) {
    const suspects = actionsWithPre(environment, actionPath);
    const hook = environment["ACTIONS_RUNNER_HOOK_JOB_STARTED"] ? " (the runner's job-started hook may be among them)" : "";
    const names = suspects.length > 0 ? ` Actions of this job that bring a \`pre\` step: ${suspects.join(", ")}.` : "";
    warnings.push(
      `Ebbgate was not the first to run in this job: ${stages} earlier ${stages === 1 ? "step has" : "steps have"} left command files` +
        `${hook}. What they did was not guarded, and what they started may still run.${names} Make Ebbgate the job's first step.`,
    );
  }
  const containers = await runningContainers();
  if (containers.length > 0) {
    warnings.push(
      `Containers were running before Ebbgate was armed: ${containers.join(", ")}. What they sent until now was not guarded. ` +
        "Start services from a step after Ebbgate instead of with `services:`.",
    );
  }
  return warnings;
}

/**
 * The runner makes a set of files for each step it starts and leaves them until the job's end.
 * @param {NodeJS.ProcessEnv} environment
 * @returns {number}
 */
function earlierStages(environment) {
  const own = environment["GITHUB_ENV"] ?? "";
  const prefix = "set_env_";
  if (!basename(own).startsWith(prefix)) return 0; // not GitHub's runner
  return entries(dirname(own)).filter((name) => name.startsWith(prefix) && name !== basename(own)).length;
}

/**
 * @param {NodeJS.ProcessEnv} environment
 * @param {string} actionPath
 * @returns {string[]} other actions that were downloaded for this job and declare a step before all others
 */
function actionsWithPre(environment, actionPath) {
  const root = join(environment["RUNNER_WORKSPACE"] ?? "/nonexistent", "..", "_actions");
  const found = [];
  const queue = [{ folder: root, depth: 0 }];
  for (let seen = 0; seen < MOST_FOLDERS; seen += 1) {
    const next = queue.shift();
    if (!next) break;
    const { folder, depth } = next;
    if (folder === actionPath || basename(folder) === "node_modules") continue;
    const text = depth >= 3 ? read(join(folder, "action.yml")) || read(join(folder, "action.yaml")) : "";
    const runs = text.slice(Math.max(text.search(/^runs:/mu), 0));
    if (/[\s{,](pre|pre-entrypoint):\s*\S/u.test(runs)) found.push(actionName(relative(root, folder)));
    if (depth >= 3 + DEEPEST) continue;
    for (const name of entries(folder, true)) queue.push({ folder: join(folder, name), depth: depth + 1 });
  }
  return found.sort();
}

/** @param {string} path OWNER/REPOSITORY/REF/PART */
function actionName(path) {
  const [owner = "", repository = "", reference = "", ...part] = path.split("/");
  return `${[owner, repository, ...part].join("/")}@${reference}`;
}

/**
 * @param {string} folder
 * @param {boolean} [foldersOnly]
 * @returns {string[]}
 */
function entries(folder, foldersOnly = false) {
  try {
    const all = readdirSync(folder, { withFileTypes: true });
    return all.filter((entry) => !foldersOnly || entry.isDirectory()).map((entry) => entry.name);
  } catch {
    return [];
  }
}

/** @param {string} path */
function read(path) {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** @returns {Promise<string[]>} name and image of each; empty without Docker */
function runningContainers() {
  return new Promise((resolve) => {
    const asked = request({ socketPath: DOCKER_SOCKET, path: "/containers/json", timeout: DOCKER_SECONDS * 1000 }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (piece) => (text += piece));
      response.on("error", () => resolve([]));
      response.on("end", () => resolve(named(text)));
    });
    asked.on("timeout", () => asked.destroy());
    asked.on("error", () => resolve([]));
    asked.end();
  });
}

/**
 * @param {string} text
 * @returns {string[]}
 */
function named(text) {
  try {
    const list = /** @type {{ Names?: string[], Image?: string }[]} */ (JSON.parse(text));
    return list.map(({ Names: names = [], Image: image = "?" }) => `${names[0]?.replace(/^\//u, "") ?? "?"} (${image})`);
  } catch {
    return [];
  }
}
