// @ts-check
// What goes wrong here, told as the rest of Ebbgate tells it: what, why, and what to do now. No message carries a secret.

/** The exit codes that this side gives by itself; the others are the program's own (src/ebbgate/exit_codes.py). */
export const BAD_USAGE = 2;
export const PLATFORM = 3;
export const BROKEN = 93;

export class Refusal extends Error {
  /**
   * @param {number} code what the step ends with; never 0
   * @param {string} title what went wrong, one line
   * @param {string} [cause] why, in plain words
   * @param {string} [nextStep] what to do now
   */
  constructor(code, title, cause = "", nextStep = "") {
    super(title);
    this.code = code || BROKEN;
    this.cause = cause;
    this.nextStep = nextStep;
  }

  /** @returns {string} all three as one text */
  get text() {
    return [this.message, this.cause, this.nextStep && `What to do: ${this.nextStep}`].filter(Boolean).join("\n");
  }
}

/**
 * @param {unknown} problem anything that was thrown
 * @returns {Refusal}
 */
export function asRefusal(problem) {
  if (problem instanceof Refusal) return problem;
  const words = problem instanceof Error ? `${problem.name}: ${problem.message}` : String(problem);
  return new Refusal(BROKEN, "Ebbgate's action failed", words, "Please report this as a defect.");
}
