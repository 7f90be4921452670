/**
 * Turns vitest's JSON report into the one line that people and CI read, `N passed, N failed`, and into the exit code.
 * A file that could not even be loaded, a skipped test and a run without tests count as failures: nothing passes by not
 * running. Called by scripts/test.
 */
import { readFileSync } from "node:fs";

const [file = "", vitestStatus = "1"] = process.argv.slice(2);
let passed = 0;
let failed = 0;
try {
  const report = JSON.parse(readFileSync(file, "utf8"));
  passed = report.numPassedTests;
  const brokenFiles = report.testResults.filter((it) => it.status === "failed" && it.assertionResults.length === 0).length;
  const notRun = report.numPendingTests + report.numTodoTests;
  if (notRun > 0) {
    process.stdout.write(`${notRun} tests were skipped; a test that cannot run counts as failed\n`);
  }
  failed = report.numFailedTests + brokenFiles + notRun;
} catch (error) {
  process.stdout.write(`no test report: ${error.message}\n`);
}
if (failed === 0 && (passed === 0 || vitestStatus !== "0")) {
  failed = 1;
}
process.stdout.write(`${passed} passed, ${failed} failed\n`);
process.exitCode = failed === 0 ? 0 : 1;
