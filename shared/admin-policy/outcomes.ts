/**
 * The texts with which an admin policy's refusals and failures reach the user; scripts look for them, so they are
 * SkyPilot's to the letter wherever it has one. Every outcome but a changed request is one of these. Pure. Used by
 * coordinator/policy and client/policy.
 */
import { SkyError } from "../errors.ts";
import { printable } from "../printable.ts";

/** Characters of a policy's own words. */
const textMax = 4_000;

function bounded(text: string): string {
  return text.length > textMax ? `${text.slice(0, textMax)}…` : text;
}

/** Before each application. Source: SkyPilot. */
export function applyingLine(side: "client" | "server", policy: string): string {
  return `Applying ${side} admin policy: ${policy}`;
}

function rejected(text: string, hint: string | null = null): SkyError {
  return new SkyError("UserRequestRejectedByPolicy", printable(bounded(text)), hint);
}

/** A policy server answered 400: its words, as they came. */
export function rejectedByUrl(url: string, responseText: string): SkyError {
  return rejected(`User request is rejected by admin policy ${url}: ${responseText}`);
}

/** What a policy itself said, for those who hand its words on in another form. */
export class RaisedByPolicy extends SkyError {
  readonly words: string;

  constructor(policy: string, type: string, words: string) {
    const { message } = rejectedByPolicy(policy, type, words);
    super("UserRequestRejectedByPolicy", message);
    this.words = words;
  }
}

/** A policy threw, or what happened in its place: `[TYPE] TEXT`. */
export function rejectedByPolicy(policy: string, type: string, text: string): SkyError {
  return rejected(`User request rejected by policy ${policy}: [${type}] ${text}`);
}

/** Source: SkyPilot's exception of the same name. */
const restError = "sky.exceptions.RestfulPolicyError";

/** The policy server could not be asked, was late, or answered with another status than 200 and 400. */
export function callFailed(policy: string, url: string, cause: string): SkyError {
  return rejectedByPolicy(policy, restError, `Failed to call admin policy URL ${url}: ${cause}`);
}

/** It answered 200 with something else than a changed request. */
export function decodeFailed(policy: string, url: string, type: string, cause: string): SkyError {
  return rejectedByPolicy(
    policy,
    restError,
    `Failed to decode response from admin policy URL ${url}: [${type}] ${cause}`,
  );
}

/** Why a module gives no policy, for the admin. `folder`: where it was looked for. */
export const moduleFaults = {
  missing: (module: string, folder: string, cause: string): string =>
    `Failed to import policy module: ${module}: ${cause} Please check if the module is installed in ${folder}.`,
  noClass: (className: string, module: string): string =>
    `Could not find ${className} class in module ${module}. Please check with your policy admin for details.`,
  noPolicy: (className: string): string =>
    `Policy class ${className} does not implement the AdminPolicy interface. Please check with your policy admin for details.`,
};

/** What is wrong with the policy itself, not with the request: the request is refused all the same. */
export function policyUnusable(text: string): SkyError {
  return rejected(text, "Nothing runs here that the policy has not seen. Tell the cluster's admin.");
}

/** What the cluster cannot take of a task or config that a policy has changed. */
export function brokenByPolicy(policy: string, error: SkyError): SkyError {
  const text = `The admin policy ${policy} changed the request, and what it made of it cannot be taken: ${error.message}`;
  return new SkyError(error.type, text, error.hint);
}
