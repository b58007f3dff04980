// @ts-check
// How a step speaks with the runner: workflow commands on standard output, and one file for each kind of message.

import { randomUUID } from "node:crypto";
import { constants, closeSync, openSync, writeSync } from "node:fs";

import { BROKEN, PLATFORM, Refusal, asRefusal } from "./errors.js";

/** The runner shows ten annotations of a kind for one step and drops the others. */
const MOST_ANNOTATIONS = 9;
/** It cuts an annotation at 4,096 characters. */
const LONGEST_ANNOTATION = 4000;

/** @param {string} text */
const escape = (text) => text.replaceAll("%", "%25").replaceAll("\r", "%0D").replaceAll("\n", "%0A");

/** @param {string} text one line for the log; whatever it holds, the runner does not take it for a command */
export function say(text) {
  for (const line of text.split(/\r\n|\r|\n/u)) {
    process.stdout.write(`${line.replace(/^(\s*)::/u, "$1: :").replaceAll("##[", "# # [")}\n`);
  }
}

/**
 * @param {"error" | "warning" | "notice"} level
 * @param {string} text
 */
export function annotate(level, text) {
  const cut = text.length > LONGEST_ANNOTATION ? `${text.slice(0, LONGEST_ANNOTATION)} [cut]` : text;
  process.stdout.write(`::${level} title=Ebbgate::${escape(cut)}\n`);
}

/** @param {readonly string[]} texts as many as there are; the last annotation holds those that the runner would drop */
export function warn(texts) {
  const all = [...new Set(texts)];
  const single = all.length > MOST_ANNOTATIONS ? MOST_ANNOTATIONS - 1 : all.length;
  for (const text of all.slice(0, single)) annotate("warning", text);
  if (all.length > single) annotate("warning", all.slice(single).join("\n"));
}

/**
 * @param {"GITHUB_ENV" | "GITHUB_OUTPUT" | "GITHUB_STATE"} file
 * @param {Record<string, string>} values
 */
export function tell(file, values) {
  const path = process.env[file];
  if (!path) throw new Refusal(PLATFORM, `The runner gave no ${file}`, "", "Use a runner of version 2.327 or newer.");
  let text = "";
  for (const [name, value] of Object.entries(values)) {
    // Nobody can guess where the value ends, so nothing in it can begin a variable of its own.
    const end = `ebbgate_${randomUUID()}`;
    if (!/^[A-Za-z_][A-Za-z0-9_-]*$/u.test(name) || value.includes(end) || value.includes("\0")) {
      throw new Refusal(BROKEN, `${name} cannot be given to the runner`);
    }
    text += `${name}<<${end}\n${value}\n${end}\n`;
  }
  // The runner made the file: neither make it nor follow a link that took its place.
  const descriptor = openSync(path, constants.O_WRONLY | constants.O_APPEND | constants.O_NOFOLLOW);
  try {
    writeSync(descriptor, text);
  } finally {
    closeSync(descriptor);
  }
}

/**
 * Runs one stage. It fails unless its work says otherwise: an exception, a promise that never settles and an early end of the
 * program are failures too.
 * @param {() => Promise<number>} work gives the code to end with
 */
export async function stage(work) {
  process.exitCode = BROKEN;
  try {
    process.exitCode = await work();
  } catch (problem) {
    const refusal = asRefusal(problem);
    annotate("error", refusal.text);
    process.exitCode = refusal.code;
  }
}
