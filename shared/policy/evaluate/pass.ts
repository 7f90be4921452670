/**
 * The state of one pass over a workload: the policies of one mode, what was submitted, and what has come of it so far.
 * Types only. A pass lives as long as one evaluation; nothing of it is kept.
 */
import type { CompiledPolicy } from "../compiled.ts";
import type { LiveItem } from "./items.ts";
import type { Findings } from "./findings.ts";
import type { Combined } from "../together/merge.ts";
import type { Submission } from "./submission.ts";
import type { PlainValue, ValueOrigin } from "../words.ts";

export type ImposedItem = LiveItem & { part: CompiledPolicy };

export interface Pass {
  combined: Combined;
  submission: Submission;
  /** Items that are imposed, by field. */
  imposed: ReadonlyMap<string, readonly ImposedItem[]>;
  findings: Findings;
  /** Of scalars, arrays and objects. */
  effective: Map<string, PlainValue>;
  origins: Map<string, ValueOrigin>;
  /** Of itemized fields. */
  live: Map<string, readonly LiveItem[]>;
  /** For computed fields: the places that they were computed from. */
  because: Map<string, readonly string[]>;
  notices: string[];
}
