// @ts-check
// The policy file, from the commit of the workflow, through the API. The checked-out files come from whoever wrote the change
// under test; the workflow's commit is what GitHub runs.

import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

import { BAD_USAGE, BROKEN, Refusal } from "./errors.js";

const MOST_BYTES = 256 * 1024;
const SECONDS = 10;
const TRIES = 3;
const COMMIT = /^[0-9a-f]{40}([0-9a-f]{24})?$/u;

/** @typedef {{ path: string, text: string, commit: string, repository: string, notice: string }} Policy */

/**
 * @param {string} path as the input has it
 * @param {string} token
 * @param {NodeJS.ProcessEnv} environment
 * @returns {Promise<Policy>}
 */
export async function fetchPolicy(path, token, environment) {
  const parts = path.replace(/^\.\//u, "").split("/");
  // eslint-disable-next-line no-control-regex -- control characters are what is looked for
  if (parts.some((part) => ["", ".", ".."].includes(part)) || /[\\\u0000-\u001f]/u.test(path)) {
    throw new Refusal(BAD_USAGE, `policy-file: ${JSON.stringify(path)} is no path inside a repository`, "", "Give it like `.github/ebbgate.yml`.");
  }
  const { repository, commit, notice } = source(environment);
  const base = (environment["GITHUB_API_URL"] ?? "").replace(/\/+$/u, "");
  if (!/^https?:\/\//u.test(base)) throw new Refusal(BROKEN, "policy-file: the runner gave no GITHUB_API_URL");
  const url = `${base}/repos/${repository}/contents/${parts.map(encodeURIComponent).join("/")}?ref=${commit}`;
  const where = `${parts.join("/")} in ${repository} at ${commit.slice(0, 12)}`;
  const text = await read(url, token, where);
  return { path: parts.join("/"), text, commit, repository, notice };
}

/**
 * @param {NodeJS.ProcessEnv} environment
 * @returns {{ repository: string, commit: string, notice: string }} which repository and commit the policy is read from
 */
function source(environment) {
  const reference = environment["GITHUB_WORKFLOW_REF"] ?? "";
  const named = /^([\w.-]+\/[\w.-]+)\/\.github\//u.exec(reference)?.[1];
  const repository = named ?? environment["GITHUB_REPOSITORY"] ?? "";
  let commit = environment["GITHUB_WORKFLOW_SHA"] ?? "";
  let notice = "";
  const event = environment["GITHUB_EVENT_NAME"] ?? "";
  if (event === "pull_request") {
    // The workflow's commit is then the merge of the pull request: its author wrote it.
    const request = pullRequest(environment["GITHUB_EVENT_PATH"] ?? "");
    if (request.fork) commit = request.base;
    notice = request.fork
      ? `This pull request comes from a fork, so the policy is the base branch's (${commit.slice(0, 12)}), not the pull request's.`
      : `The policy is read from the pull request's own merge commit (${commit.slice(0, 12)}).`;
  } else if (event.startsWith("pull_request")) {
    notice = `The policy is read from the workflow's own commit (${commit.slice(0, 12)}), not from the pull request.`;
  }
  if (!/^[\w.-]+\/[\w.-]+$/u.test(repository) || !COMMIT.test(commit)) {
    throw new Refusal(
      BROKEN,
      "policy-file: the runner did not say which commit the workflow is from",
      "GITHUB_WORKFLOW_SHA or GITHUB_REPOSITORY is missing.",
      "Give the policy inline (input `policy`).",
    );
  }
  return { repository, commit, notice };
}

/**
 * @param {string} path of the event that started the workflow
 * @returns {{ fork: boolean, base: string }}
 */
function pullRequest(path) {
  try {
    const request = JSON.parse(readFileSync(path, "utf8")).pull_request;
    const fork = request.head.repo?.full_name !== request.base.repo.full_name; // null: the fork was deleted
    return { fork, base: String(request.base.sha) };
  } catch (problem) {
    throw new Refusal(BROKEN, "policy-file: the event of this pull request cannot be read", String(problem));
  }
}

/**
 * @param {string} url
 * @param {string} token
 * @param {string} where
 */
async function read(url, token, where) {
  let last = "";
  for (let attempt = 0; attempt < TRIES; attempt += 1) {
    if (attempt > 0) await sleep(500 * attempt);
    try {
      const response = await fetch(url, {
        headers: {
          Accept: "application/vnd.github.raw+json",
          "X-GitHub-Api-Version": "2022-11-28",
          "User-Agent": "ebbgate",
          ...(token ? { Authorization: `Bearer ${token}` } : {}),
        },
        redirect: "error",
        signal: AbortSignal.timeout(SECONDS * 1000),
      });
      if (response.ok) return await content(response, where);
      last = `the API answered ${response.status}`;
      if (response.status < 500 && response.status !== 429) return refuse(response.status, where);
    } catch (problem) {
      if (problem instanceof Refusal) throw problem;
      const cause = problem instanceof Error && problem.cause instanceof Error ? `: ${problem.cause.message}` : "";
      last = `${problem instanceof Error ? problem.message : problem}${cause}`;
    }
  }
  throw new Refusal(BROKEN, `policy-file: ${where} could not be read`, last, "Run the job again, or give the policy inline (input `policy`).");
}

/**
 * @param {number} status
 * @param {string} where
 * @returns {never}
 */
function refuse(status, where) {
  const next =
    status === 404
      ? "Check the path. In a private repository the job also needs `permissions: contents: read`."
      : "Check that the job's token has `permissions: contents: read`.";
  throw new Refusal(BAD_USAGE, `policy-file: ${where} could not be read`, `the API answered ${status}`, next);
}

/**
 * @param {Response} response
 * @param {string} where
 * @returns {Promise<string>}
 */
async function content(response, where) {
  if ((response.headers.get("content-type") ?? "").startsWith("application/json")) {
    throw new Refusal(BAD_USAGE, `policy-file: ${where} is no file`, "", "Give the path of a file.");
  }
  /** @type {Uint8Array[]} */
  const pieces = [];
  let size = 0;
  for await (const piece of response.body ?? []) {
    size += piece.length;
    if (size > MOST_BYTES) throw new Refusal(BAD_USAGE, `policy-file: ${where} is larger than ${MOST_BYTES / 1024} KiB`);
    pieces.push(piece);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(pieces));
  } catch {
    throw new Refusal(BAD_USAGE, `policy-file: ${where} is not UTF-8 text`);
  }
}
