// @ts-check
// Where Ebbgate cannot guard anything, it says so and fails the step. It is never quietly absent.

import { readFileSync } from "node:fs";

import { PLATFORM, Refusal } from "./errors.js";

const CAP_NET_ADMIN = 12n;

/** @param {NodeJS.ProcessEnv} environment */
export function refuseUnsupported(environment) {
  if (process.platform !== "linux") {
    throw new Refusal(PLATFORM, `Ebbgate does not run on ${process.platform}`, "It uses the Linux kernel's packet filter.", "Use a Linux runner.");
  }
  if (!["x64", "arm64"].includes(process.arch)) {
    throw new Refusal(PLATFORM, `Ebbgate does not run on ${process.arch}`, "", "Use a runner for x64 or arm64.");
  }
  if (isContainerJob(environment)) {
    throw new Refusal(
      PLATFORM,
      "Ebbgate cannot guard a job with `container:`",
      "The steps of such a job, this one included, run inside the container, from where the machine cannot be guarded.",
      "Remove `container:` from the job, or start the container from a step of a guarded job.",
    );
  }
  if (!(boundingSet() & (1n << CAP_NET_ADMIN))) {
    const slim = environment["RUNNER_ENVIRONMENT"] === "github-hosted" ? "`ubuntu-slim` runners are unprivileged containers. " : "";
    throw new Refusal(
      PLATFORM,
      "This runner is itself an unprivileged container",
      `${slim}Not even root can filter packets in it (CAP_NET_ADMIN is missing).`,
      "Use `runs-on: ubuntu-24.04`, or a self-hosted runner on a virtual machine.",
    );
  }
}

/**
 * The runner mounts its directories below /__w, /__e and /github into the job's container, and starts us there.
 * @param {NodeJS.ProcessEnv} environment
 */
function isContainerJob(environment) {
  const paths = [environment["GITHUB_WORKSPACE"], environment["RUNNER_WORKSPACE"], environment["RUNNER_TEMP"], process.execPath];
  return paths.some((path) => /^\/__[a-z]\//u.test(path ?? "")) || environment["HOME"] === "/github/home";
}

/** @returns {bigint} the capabilities that root could have here */
function boundingSet() {
  const found = /^CapBnd:\s*([0-9a-f]+)$/mu.exec(readFileSync("/proc/self/status", "utf8"));
  return BigInt(`0x${found?.[1] ?? "0"}`);
}
