// @ts-check
// What only root can have put where it is. Everything else may have been changed by an earlier step.

import { lstatSync, realpathSync } from "node:fs";
import { dirname } from "node:path";

const OTHERS_WRITE = 0o022;

/**
 * @param {string} path
 * @returns {boolean} whether it is a regular file which, like every directory above it, only root can change
 */
export function isRootOwned(path) {
  try {
    let current = realpathSync(path);
    if (!lstatSync(current).isFile()) return false;
    for (;;) {
      const entry = lstatSync(current);
      if (entry.uid !== 0 || (entry.mode & OTHERS_WRITE) !== 0) return false;
      if (current === "/") return linksAreRoots(path);
      current = dirname(current);
    }
  } catch {
    return false;
  }
}

/**
 * @param {string} path
 * @returns {boolean} whether the directories above the name itself are root's too, so that no link in it can be exchanged
 */
function linksAreRoots(path) {
  for (let current = dirname(path); ; current = dirname(current)) {
    const entry = lstatSync(realpathSync(current));
    if (entry.uid !== 0 || (entry.mode & OTHERS_WRITE) !== 0) return false;
    if (current === "/") return true;
  }
}
