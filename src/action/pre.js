// @ts-check
// Before every other step of the job, and before the `main` of any action: arm.

import { arm, version } from "./arm.js";
import { say, stage } from "./runner.js";

await stage(async () => {
  say(`Ebbgate ${version()}`);
  await arm(process.env);
  return 0;
});
