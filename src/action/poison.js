// @ts-check
// Variables that change what a program loads before its first line runs. A step can set them for later steps, this one's
// end included. Honest limit: who is loaded that way could also hide it from us, which is why the guard, outside this
// process, looks too; this is the check that costs nothing.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

import { isRootOwned } from "./ownership.js";

/** Never set by honest tools for every later step; a workflow that sets one does so before Ebbgate is armed as well. */
const LOADING = [
  "GCONV_PATH",
  "GLIBC_TUNABLES",
  "LD_AUDIT",
  "LD_PRELOAD",
  "NODE_OPTIONS",
  "NODE_PATH",
  "NODE_REPL_EXTERNAL_MODULE",
  "NODE_V8_COVERAGE",
  "OPENSSL_CONF",
  "OPENSSL_ENGINES",
  "OPENSSL_MODULES",
];

/**
 * @param {NodeJS.ProcessEnv} environment
 * @returns {string} what these variables are, as a digest
 */
export function fingerprint(environment) {
  return createHash("sha256").update(JSON.stringify(LOADING.map((name) => environment[name] ?? null))).digest("hex");
}

/**
 * @param {NodeJS.ProcessEnv} environment
 * @param {string} atArming what they were when Ebbgate was armed
 * @returns {string[]} what was added since, in words; empty when this process is as the runner means it to be
 */
export function poisoned(environment, atArming) {
  const found = [];
  if (fingerprint(environment) !== atArming) {
    const names = LOADING.filter((name) => environment[name]);
    found.push(`Variables that change what this process loads are not what they were: ${names.join(", ") || "one was removed"}.`);
  }
  // LD_LIBRARY_PATH is set by honest actions (setup-python): what counts is what was loaded because of it.
  const foreign = loaded().filter((path) => !isRootOwned(path));
  if (environment["LD_LIBRARY_PATH"] && foreign.length > 0) {
    found.push(`LD_LIBRARY_PATH made this process load files that others than root can change: ${foreign.join(", ")}.`);
  }
  return found;
}

/** @returns {string[]} libraries and programs in this process, without the runner's own node */
function loaded() {
  const lines = readFileSync("/proc/self/maps", "utf8").split("\n");
  const paths = lines.map((line) => /^\S+ ..x. \S+ \S+ \S+\s+(\/.*)$/u.exec(line)?.[1] ?? "").filter(Boolean);
  return [...new Set(paths)].filter((path) => path !== process.execPath);
}
