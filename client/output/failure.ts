/**
 * How an error reaches the person: `Error: …` in red on stderr, then what to do next. Never a stack trace, unless
 * SKY_DEBUG is set. Used by client/main.ts for everything that a command throws.
 */
import { messageOf, SkyError } from "../../shared/errors.ts";
import type { Screen } from "./screen.ts";

/** Prints what was thrown. */
export function showFailure(thrown: unknown, screen: Screen, env: NodeJS.ProcessEnv): void {
  const { red } = screen.noteColors;
  const known = thrown instanceof SkyError;
  const message = messageOf(thrown);
  screen.note(red(`Error: ${known || message !== "" ? message : "something unexpected happened"}`));
  if (known && thrown.hint !== null) {
    screen.note(thrown.hint);
  }
  if ((env["SKY_DEBUG"] ?? "") !== "" && thrown instanceof Error) {
    screen.note(thrown.stack ?? "");
  } else if (!known) {
    screen.note("This is a fault in sky itself. Run it again with SKY_DEBUG=1 to see where, and report it.");
  }
}
