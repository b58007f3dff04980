// @ts-check
// A Python of 3.12 or newer, and Ebbgate's own environment for it, in a place that only root can change.
// Looked for by fixed paths: a PATH that was given to us could lead anywhere.

import { readdirSync } from "node:fs";
import { join } from "node:path";

import { BROKEN, PLATFORM, Refusal } from "./errors.js";
import { isRootOwned } from "./ownership.js";
import { answer, run, runAsRoot } from "./programs.js";

const SYSTEM = ["/usr/bin", "/usr/local/bin"];
const NAME = /^python3\.(1[2-9]|[2-9]\d)$/u;
const INSTALL_SECONDS = 180;
const PROBE = "import sys;print(sys.implementation.name,*sys.version_info[:2])";

/** How an index of packages is reached where it is not the public one. Hashes are checked, so none of them needs trust. */
const INDEX_VARIABLES = [
  "ALL_PROXY",
  "HTTPS_PROXY",
  "HTTP_PROXY",
  "NO_PROXY",
  "PIP_CERT",
  "PIP_FIND_LINKS",
  "PIP_INDEX_URL",
  "PIP_NO_INDEX",
  "SSL_CERT_DIR",
  "SSL_CERT_FILE",
  "UV_DEFAULT_INDEX",
  "UV_FIND_LINKS",
  "UV_INDEX_URL",
  "UV_NO_INDEX",
  "https_proxy",
  "http_proxy",
  "no_proxy",
];

/**
 * @param {string} actionPath
 * @param {NodeJS.ProcessEnv} environment
 * @returns {Promise<{ python: string, from: string }>} the interpreter of a complete environment, root's alone
 */
export async function environmentFor(actionPath, environment) {
  const interpreter = await findPython(environment);
  const index = Object.fromEntries(INDEX_VARIABLES.flatMap((name) => (environment[name] ? [[name, environment[name]]] : [])));
  const ended = await runAsRoot([interpreter, "-I", "-B", join(actionPath, "src/action/provision.py")], {
    seconds: INSTALL_SECONDS,
    input: JSON.stringify({ action: actionPath, copy: !isRootOwned(interpreter), index }),
  });
  if (ended.code !== 0) {
    const cause = ended.code === 137 || ended.code === 124 ? `It took longer than ${INSTALL_SECONDS} seconds.` : ended.stderr.trim().slice(-3000);
    throw new Refusal(PLATFORM, "Ebbgate's Python environment could not be made", cause, "Nothing was armed. See the cause above.");
  }
  const { python, from } = answer("The installation", ended);
  if (typeof python !== "string" || !isRootOwned(python)) {
    throw new Refusal(BROKEN, "Ebbgate's Python environment can be changed by others than root", String(python));
  }
  return { python, from: String(from) };
}

/**
 * @param {NodeJS.ProcessEnv} environment
 * @returns {Promise<string>}
 */
async function findPython(environment) {
  const system = SYSTEM.flatMap((folder) => named(folder).map((name) => join(folder, name)));
  const candidates = [...system.filter(isRootOwned), ...toolCache(environment)];
  for (const candidate of candidates) {
    if (await isSuitable(candidate)) return candidate;
  }
  throw new Refusal(
    PLATFORM,
    "No Python of 3.12 or newer was found",
    `Looked in ${SYSTEM.join(", ")} and in the runner's tool cache${candidates.length > 0 ? `; unsuitable: ${candidates.join(", ")}` : ""}.`,
    "Use ubuntu-24.04 or newer, or install python3.12 on the runner.",
  );
}

/**
 * @param {string} folder
 * @returns {string[]} interpreters by name, the oldest suitable version first: that is the distribution's own
 */
function named(folder) {
  try {
    return readdirSync(folder).filter((name) => NAME.test(name)).sort();
  } catch {
    return [];
  }
}

/**
 * @param {NodeJS.ProcessEnv} environment
 * @returns {string[]}
 */
function toolCache(environment) {
  const roots = new Set([environment["RUNNER_TOOL_CACHE"], environment["AGENT_TOOLSDIRECTORY"], "/opt/hostedtoolcache"]);
  const found = [];
  for (const root of roots) {
    if (!root) continue;
    let versions;
    try {
      versions = readdirSync(join(root, "Python")).filter((name) => /^3\.(1[2-9]|[2-9]\d)\.\d+$/u.test(name)).sort();
    } catch {
      continue;
    }
    for (const version of versions) {
      const minor = version.split(".").slice(0, 2).join(".");
      found.push(join(root, "Python", version, process.arch, "bin", `python${minor}`));
    }
  }
  return found;
}

/**
 * @param {string} candidate
 * @returns {Promise<boolean>}
 */
async function isSuitable(candidate) {
  try {
    const ended = await run([candidate, "-I", "-B", "-c", PROBE], { seconds: 10 });
    const [name, major, minor] = ended.stdout.trim().split(" ");
    return ended.code === 0 && name === "cpython" && major === "3" && Number(minor) >= 12;
  } catch {
    return false;
  }
}
