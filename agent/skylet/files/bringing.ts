/**
 * What each way of bringing files is given: whose job, where to, and how to speak. It does nothing by itself. Made by
 * main.ts for one plan.
 */
import type { Claim } from "./claim.ts";
import type { FilesOrder } from "./order.ts";
import type { Questions } from "./questions.ts";

export interface Bringing {
  order: FilesOrder;
  /** The attempt's folder. */
  folder: string;
  /** Absolute; links on the way to it are resolved, but not itself. */
  destination: string;
  /** As in the task, for messages. */
  label: string;
  claim: Claim;
  questions: Questions;
  /** One line for the setup log. */
  say: (line: string) => void;
  /** What must be done when the program is told to end. */
  onEnd: (act: () => void) => void;
}
