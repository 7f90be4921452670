/**
 * Texts from other machines on their way to a terminal: nothing in them may move the cursor, change colours, answer as if
 * typed, or turn the writing direction. Pure. Used where the client takes over texts of the coordinator, which repeats
 * what nodes say.
 */

/** The text with a blank in place of each such character; line breaks and tabs stay. */
export function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, " ");
}
