// @ts-check
// In the place where the workflow names Ebbgate. `pre` has armed, unless the action is a local one (`uses: ./...`), which
// the runner starts without `pre`. What post writes as outputs comes too late for other steps; paths are known already.

import { join } from "node:path";

import { arm, reportDirectory, version } from "./arm.js";
import { say, stage, tell } from "./runner.js";

await stage(async () => {
  let python = process.env["STATE_python"] ?? "";
  if (process.env["STATE_armed"] !== "1") {
    say(`Ebbgate ${version()}: arming now. Steps before this one were not guarded.`);
    python = await arm(process.env);
  }
  const directory = reportDirectory(process.env);
  tell("GITHUB_OUTPUT", {
    command: `${python} -I -m ebbgate`,
    "report-json": join(directory, "report.json"),
    "suggested-policy": join(directory, "policy.suggested.yml"),
  });
  say(`Ebbgate guards this job. Its verdict, summary and report (in ${directory}) come when the job ends.`);
  return 0;
});
