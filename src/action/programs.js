// @ts-check
// Starting programs: by absolute paths, with an environment of our own, with a deadline, and what they must not show on
// standard input. What a step left in GITHUB_ENV or GITHUB_PATH never reaches them.

import { spawn } from "node:child_process";

import { BROKEN, PLATFORM, Refusal } from "./errors.js";
import { isRootOwned } from "./ownership.js";

/** @type {Readonly<Record<string, string>>} */
export const ENVIRONMENT = Object.freeze({ PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LANG: "C.UTF-8" });

const SUDO = "/usr/bin/sudo";
const ENV = "/usr/bin/env";
const TIMEOUT = "/usr/bin/timeout";
const MOST_OUTPUT = 8 * 1024 * 1024;

/**
 * @typedef {object} Ended
 * @property {number} code the exit code; 128 + n after signal n, 124 at the deadline
 * @property {string} stdout
 * @property {string} stderr
 */

/**
 * @param {readonly [string, ...string[]]} command
 * @param {{ seconds: number, input?: string, show?: boolean }} how show: its output is this step's output
 * @returns {Promise<Ended>}
 */
export function run([program, ...parameters], { seconds, input = "", show = false }) {
  return new Promise((resolve, reject) => {
    const output = show ? "inherit" : "pipe";
    const child = spawn(program, parameters, { env: { ...ENVIRONMENT }, cwd: "/", stdio: ["pipe", output, output] });
    const streams = { stdout: "", stderr: "" };
    // A child that is root's cannot be ended from here: its own `timeout` does that, and we go on without it.
    const clock = setTimeout(() => {
      child.kill("SIGKILL");
      child.unref();
      for (const stream of [child.stdin, child.stdout, child.stderr]) stream?.destroy();
      resolve({ code: 124, ...streams });
    }, seconds * 1000);
    for (const name of /** @type {const} */ (["stdout", "stderr"])) {
      child[name]?.setEncoding("utf8").on("data", (/** @type {string} */ text) => {
        if (streams[name].length < MOST_OUTPUT) streams[name] += text;
      });
    }
    child.on("error", (problem) => {
      clearTimeout(clock);
      reject(new Refusal(PLATFORM, `${program} cannot be started`, problem.message));
    });
    child.on("close", (code, signal) => {
      clearTimeout(clock);
      resolve({ code: code ?? (signal === "SIGKILL" ? 137 : 128), ...streams });
    });
    child.stdin?.on("error", () => {}); // it ended without reading: its exit code says why
    child.stdin?.end(input);
  });
}

/**
 * @param {readonly string[]} command run as root
 * @param {{ seconds: number, input?: string }} how
 * @returns {Promise<Ended>}
 */
export function runAsRoot(command, { seconds, input = "" }) {
  const clean = Object.entries({ ...ENVIRONMENT, HOME: "/root" }).map(([name, value]) => `${name}=${value}`);
  const inner = [ENV, "-i", ...clean, TIMEOUT, "--signal=KILL", `${seconds}`, ...command];
  const outer = /** @type {[string, ...string[]]} */ (process.getuid?.() === 0 ? inner : [SUDO, "-n", "--", ...inner]);
  return run(outer, { seconds: seconds + 2, input });
}

/** Throws unless this user can act as root without being asked for a password. */
export async function requireRoot() {
  const needed = process.getuid?.() === 0 ? [ENV, TIMEOUT] : [SUDO, ENV, TIMEOUT];
  for (const program of needed) {
    if (!isRootOwned(program)) {
      throw new Refusal(PLATFORM, `${program} is missing, or others than root can change it`, "Ebbgate arms as root.", "Install it.");
    }
  }
  const ended = await runAsRoot(["/usr/bin/id", "-u"], { seconds: 10 });
  if (ended.code === 0 && ended.stdout.trim() === "0") return;
  throw new Refusal(
    PLATFORM,
    "Ebbgate needs root to arm, and this user has no passwordless sudo",
    ended.stderr.trim(),
    "Run on a virtual machine whose runner user may use sudo without a password, or as root. Ebbgate can take sudo away " +
      "from the later steps (input `sudo: remove`).",
  );
}

/**
 * @param {string} what
 * @param {Ended} ended of a program that prints one JSON document
 * @returns {Record<string, unknown>}
 */
export function answer(what, ended) {
  try {
    const value = JSON.parse(ended.stdout);
    if (value && typeof value === "object" && !Array.isArray(value)) return value;
  } catch {
    // told below
  }
  throw new Refusal(BROKEN, `${what} did not answer as it should`, ended.stderr.trim().slice(-2000));
}
